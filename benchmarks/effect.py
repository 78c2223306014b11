#!/usr/bin/env python3
"""What every method gains on the synthetic streets: linear probes, fine-tuning with few labels, Drive&Segment.

Writes docs/results/streets.json (for every network a list over the seeds), streets.md and streets.png, and the numbers
that README.md and docs quote from it. Every network is recorded as soon as it is done, with its commit and a hash of
its settings: the same command continues where it stopped, also on another machine, and measures again what was made
with other settings. A network takes 10 to 15 minutes of a core, Drive&Segment 35.

    python benchmarks/effect.py
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from mmengine.config import Config
from peridot.cli import run
from peridot.demo.comparison import Comparison, demo_config
from peridot.demo.methods import COLORS, METHODS, NAMES, UNTRAINED
from peridot.demo.results import Results
from peridot.files import atomic_path
from peridot.options import setting
from peridot.shipped import config_file
from peridot.work_dirs import last_metrics
from streets.dataset import GENERATOR

REPO = Path(__file__).resolve().parents[1]
OUT = REPO / 'docs' / 'results'
SEEDS = [0, 1, 2]
# tables of the probes, and the metric that goes into each
PROBES = {
    'linear_probe_miou': 'miou',
    'balanced_probe_miou': 'balanced_miou',
    'mlp_probe_miou': 'mlp_miou',
}
# tables of the fine-tuning protocols, by the untrained network: the config of each
FINE_TUNING = {
    'random': {
        'fine_tune_10pct_miou': 'peridot::demo/minkunet18_10pct_demo.py',
        'fine_tune_10pct_published_miou': 'peridot::demo/minkunet18_10pct-published_demo.py',
    },
    'random_waffleiron': {'fine_tune_10pct_miou': 'peridot::demo/waffleiron12_10pct_demo.py'},
}
# what else is measured, with linear probes alone, for docs/effect.md: method, and options in place of its config's
EXPERIMENTS = {
    'olivine_perfect_labels': ('olivine', ['train_dataloader.dataset.maps.labels=weak_labels/oracle']),
    'olivine_without_vmf': ('olivine', ['model.objectives.vmf.loss_weight=0']),
    'olivine_vmf_weight_1': ('olivine', ['model.objectives.vmf.loss_weight=1']),
    'olivine_sup_out': ('olivine', ['model.objectives.weak.reduction=sup_out']),
    'olivine_last_stage_48': ('olivine', ['model.student.backbone.decoder_channels=[128,64,48,48]']),
    'olivine_lr_0.006': ('olivine', ['optim_wrapper.optimizer.lr=0.006']),
    'also_delta_0.4': ('also', ['train_dataloader.dataset.pipeline.4.delta=0.4']),
    'also_coordinates': (
        'also',
        ['model.student.feature_columns=[0,1,2,3]', 'model.student.backbone.in_channels=4'],
    ),
}
PERFECT_LABELS = ('peridot::demo/olivine_demo.py', '--generator', 'oracle', '--out', 'weak_labels/oracle')
SPLIT = ('nuscenes', '--rule', 'random', '--percent', '10')
DRIVE_AND_SEGMENT = 'drive_and_segment_miou'
# rows of Drive&Segment by their names in its own table
DRIVE_AND_SEGMENT_ROWS = {
    'k-means of pixels': 'pixel_kmeans',
    'pseudo-labels': 'pseudo_labels',
    'teacher': 'teacher',
    'student': 'student',
    'student of the extension': 'student_ema',
}
DRIVE_AND_SEGMENT_CONFIGS = [
    f'peridot::drive_and_segment/{name}demo.py' for name in ('', 'teacher_', 'student_', 'student_ema_')
]
# settings that do not change results
BESIDE = ('default_hooks', 'log_level', 'log_processor', 'vis_backends', 'visualizer')
# rows of the tables: each untrained network, then the methods that train it
ORDER = [name for key in UNTRAINED for name in (key, *(m for m in METHODS if METHODS[m].untrained == key))]
TITLES = {
    'linear_probe_miou': 'linear probe',
    'balanced_probe_miou': 'classes balanced',
    'mlp_probe_miou': 'hidden layer',
    'fine_tune_10pct_miou': '10 % of the labels',
    'fine_tune_10pct_published_miou': '10 %, published rates',
}


class Effect(Comparison):
    """All methods and seeds, probed and fine-tuned.

    Args:
        work_dir: Folder for the runs.
        methods: Methods to measure.
        experiments: Keys of `EXPERIMENTS` that are measured instead.
        images: Measure Drive&Segment, too.
    """

    def __init__(self, work_dir: Path, methods: list[str], experiments: list[str], images: bool = False) -> None:
        # runs that were interrupted under other settings do not count
        settings = fingerprint([config for method in METHODS for config in configs_of(method)])
        if experiments:
            methods = list(dict.fromkeys(EXPERIMENTS[name][0] for name in experiments))
        super().__init__(REPO / 'data' / 'demo', work_dir / settings, methods, SEEDS, [])
        self.measured = Results(OUT / 'streets.json', SEEDS)
        self.experiments = experiments
        self.images = images
        # read here, in one thread: mmengine reloads a package for configs of other packages
        self.fingerprints = {
            name: fingerprint(configs_of(self.method_of(name)), self.options_of(name)) for name in self.networks()
        }
        self.images_fingerprint = fingerprint(DRIVE_AND_SEGMENT_CONFIGS)
        configs = {name for protocols in FINE_TUNING.values() for name in protocols.values()}
        self.untrained_options = {name: read(name).get('random_init_options', {}) for name in configs}

    def prepare(self, method: str) -> None:
        """Make what the method needs, and the split for fine-tuning."""
        super().prepare(method)
        self.stage('split', self.tool, 'make_splits', *SPLIT, '--root', str(self.data_root))
        if 'olivine_perfect_labels' in self.experiments:
            data_root = ('--data-root', str(self.data_root))
            self.stage('perfect labels', self.tool, 'make_weak_labels', *PERFECT_LABELS, *data_root)

    def runs(self) -> list[Callable[[], None]]:
        """See `Comparison`; Drive&Segment, which takes longest, begins first."""
        return [*([self.drive_and_segment] if self.images else []), *super().runs()]

    def networks(self) -> list[str]:
        """Experiments, or untrained networks and methods."""
        return self.experiments or super().networks()

    def method_of(self, network: str) -> str:
        """See `Comparison`."""
        return EXPERIMENTS[network][0] if network in EXPERIMENTS else super().method_of(network)

    def options_of(self, network: str) -> list[str]:
        """See `Comparison`."""
        return EXPERIMENTS[network][1] if network in EXPERIMENTS else []

    def run_network(self, network: str, seed: int) -> None:
        """Pre-train, probe and fine-tune a network that was not measured with these settings before."""
        settings = self.fingerprints[network]
        if self.measured.has(network, seed, settings):
            print(f'=== {network} seed {seed}: measured before')
            return
        super().run_network(network, seed)
        probes = self.results['probe'][network][str(seed)]
        values = {table: probes[metric] for table, metric in PROBES.items() if metric in probes}
        for table, config in protocols_of(self.method_of(network)).items() if network not in EXPERIMENTS else ():
            self.stage(f'{table} {network} seed {seed}', self.fine_tune, table, config, network, seed)
            values[table] = self.results[table][network][str(seed)]['miou']
        with self.lock:
            self.measured.put(network, seed, values, settings, commit())
            publish(self.measured)

    def fine_tune(self, table: str, config: str, network: str, seed: int) -> None:
        """Fine-tune a network, or continue an interrupted run."""
        folder = self.work_dir / f'{table}_{network}_seed{seed}'
        options = [setting('load_from', self.work_dir / f'{network}_seed{seed}' / 'backbone.pth')]
        if network in UNTRAINED:
            own = self.untrained_options[config].items()
            options = ['load_from=None', *(f'{key}={value}' for key, value in own)]
        self.tool(
            'train',
            config,
            *('--data-root', str(self.data_root), '--work-dir', str(folder), '--resume'),
            *('--cfg-options', f'randomness.seed={seed}', *options),
            prefix=f'{network} seed {seed} | ',
        )
        self.keep(table, network, seed, last_metrics(folder))

    def drive_and_segment(self) -> None:
        """Run all stages of Drive&Segment with every seed and keep the scores; labels are made once, by the first."""
        settings = self.images_fingerprint
        for seed in self.seeds:
            if self.measured.has('student_ema', seed, settings):
                print(f'=== Drive&Segment seed {seed}: measured before')
                continue
            folder = self.work_dir / f'drive_and_segment_seed{seed}'
            self.tool(
                'drive_and_segment',
                DRIVE_AND_SEGMENT_CONFIGS[0],
                *('--data-root', str(self.data_root), '--work-dir', str(folder), '--seeds', str(seed)),
                prefix=f'Drive&Segment seed {seed} | ',
            )
            scores = json.loads((folder / 'results.json').read_text())['scores']
            with self.lock:
                for name, row in DRIVE_AND_SEGMENT_ROWS.items():
                    (score,) = scores[name].values()
                    self.measured.put(row, seed, {DRIVE_AND_SEGMENT: score['miou']}, settings, commit())
                publish(self.measured)


def configs_of(method: str) -> list[str]:
    """Configs that a method's results depend on."""
    return [demo_config(method), *protocols_of(method).values()]


def protocols_of(method: str) -> dict[str, str]:
    """Table and config of every protocol that a method's network is fine-tuned by."""
    return FINE_TUNING[METHODS[method].untrained]


def read(config: str) -> Config:
    """A config of the package, `peridot::PATH`."""
    return Config.fromfile(config_file(config))


def fingerprint(configs: list[str], options: list[str] = ()) -> str:
    """Hash of the streets' version, the content of configs, and options; logs and checkpoints do not count."""
    return digest([read(config).to_dict() for config in configs], options)


def digest(contents: list[dict], options: list[str] = ()) -> str:
    """See `fingerprint`; of contents of configs."""
    contents = [{key: value for key, value in content.items() if key not in BESIDE} for content in contents]
    text = json.dumps([GENERATOR, contents, *options], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def commit() -> str:
    """Version of the code, with a plus if files of it are changed."""

    def git(*arguments: str) -> str:
        return subprocess.run(['git', *arguments], cwd=REPO, capture_output=True, text=True, check=True).stdout.strip()

    changed = git('status', '--porcelain', '--', 'projects', 'configs', 'tools', 'benchmarks')
    return git('rev-parse', '--short', 'HEAD') + ('+' if changed else '')


def publish(results: Results) -> None:
    """Write the table, the plot, and the quotes in the documents."""
    pages = {path: results.fill(path.read_text()) for path in documents()}
    pages[OUT / 'streets.md'] = markdown(results)
    for path, text in pages.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text)
    plot(results, OUT / 'streets.png')


def documents() -> list[Path]:
    """Pages that quote results."""
    return [REPO / 'README.md', *sorted((REPO / 'docs').rglob('*.md'))]


def markdown(results: Results) -> str:
    """The tables as a page."""
    networks = [name for name in ORDER if any(name in rows for rows in results.tables.values())]
    lines = [
        '# Results on the synthetic streets',
        '',
        f'mIoU on held-out scenes, mean ± sample standard deviation over the seeds {", ".join(map(str, SEEDS))},',
        'as far as they are measured; written by `benchmarks/effect.py`, single values in `streets.json`.',
        '[effect.md](../effect.md) says what rows and columns mean. A value without a spread is of one seed.',
        '',
        '| network | ' + ' | '.join(TITLES.values()) + ' |',
        '| --- ' * (len(TITLES) + 1) + '|',
    ]
    for name in networks:
        lines.append(f'| {NAMES[name]} | ' + ' | '.join(results.quote(table, name) for table in TITLES) + ' |')
    if variants := [name for name in EXPERIMENTS if name in results.content['runs']]:
        lines += ['', '| variant | ' + ' | '.join(TITLES[table] for table in PROBES) + ' |']
        lines += ['| --- ' * (len(PROBES) + 1) + '|']
        lines += [f'| `{n}` | ' + ' | '.join(results.quote(table, n) for table in PROBES) + ' |' for n in variants]
    if rows := results.tables.get(DRIVE_AND_SEGMENT):
        lines += ['', '| Drive&Segment, images | mIoU |', '| --- | --- |']
        lines += [
            f'| {name} | {results.quote(DRIVE_AND_SEGMENT, row)} |'
            for name, row in DRIVE_AND_SEGMENT_ROWS.items()
            if row in rows
        ]
    return '\n'.join(lines) + '\n'


def plot(results: Results, path: Path) -> None:
    """Plot linear probes and fine-tuning: means as bars, seeds as dots."""
    matplotlib.use('Agg')
    from matplotlib import pyplot

    tables = ('linear_probe_miou', 'fine_tune_10pct_miou')
    figure, axes = pyplot.subplots(1, len(tables), figsize=(12, 4), layout='constrained', sharey=True)
    for axis, table in zip(axes, tables):
        rows = {name: [v for v in results.tables.get(table, {}).get(name, []) if v is not None] for name in ORDER}
        rows = {name: values for name, values in rows.items() if values}
        for place, (name, values) in enumerate(rows.items()):
            axis.barh(place, np.mean(values), color=COLORS[name])
            axis.plot(values, [place] * len(values), 'k.', markersize=5)
        axis.set_yticks(range(len(rows)), [NAMES[name] for name in rows])
        axis.set_title(f'{TITLES[table]}, mIoU')
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].invert_yaxis()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png', dpi=100, metadata=dict(Software=None))
    pyplot.close(figure)


def main() -> None:
    """Measure everything that is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/effect'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument('--experiments', nargs='+', choices=EXPERIMENTS, default=[], help='measure these instead')
    parser.add_argument('--without-images', action='store_true', help='leave Drive&Segment out')
    args = parser.parse_args()
    images = not (args.without_images or args.experiments)
    effect = Effect(args.work_dir.absolute(), args.methods, args.experiments, images)
    effect.run()
    publish(effect.measured)
    print((OUT / 'streets.md').read_text())


if __name__ == '__main__':
    run(main)
