#!/usr/bin/env python3
"""Fine-tune networks by protocols with several seeds, and compare them in one table.

A network is `random` or NAME=FILE: a `backbone.pth`, or a file that tools/convert_checkpoint.py reads, which is
converted on the way; `{seed}` in FILE stands for the seed.
A protocol is a config of configs/finetune, also as peridot::finetune/...; minkunet34_nus/1pct.py gives the row
minkunet34_nus_1pct. `published` stands for those that the papers compare with, `demo` for those of the synthetic
streets. Results are kept: the same command continues interrupted runs and adds new ones. Writes
results.json, table.md and plot.png.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from mmengine.config import Config
from peridot.cli import config_name, run
from peridot.errors import ConfigError, PeridotError
from peridot.files import atomic_path
from peridot.options import setting
from peridot.shipped import config_file, tool_file
from peridot.work_dirs import last_metrics, peak_gpu_memory

# ends of the names of the main metrics: segmentation, nuScenes and KITTI detection
METRICS = ('miou', 'NDS', 'Overall_3D_AP40_moderate')


def published(network: str, percents: tuple[int, ...] = (1, 5, 10, 25, 100)) -> list[str]:
    """Configs of the papers' tables: linear probe and fractions of nuScenes' labels, 1 % of SemanticKITTI's."""
    nuscenes = ['linear-probe', *(f'{percent}pct' for percent in percents)]
    names = [*(f'{network}_nus/{protocol}' for protocol in nuscenes), f'{network}_semantickitti/1pct']
    return [f'peridot::finetune/{name}.py' for name in names]


# protocols under one name
PRESETS = {
    'published': published('minkunet34'),
    'published-res16unet34': published('res16unet34'),
    'published-waffleiron48x768': published('waffleiron48x768', (1, 10, 100)),
    'demo': [f'peridot::demo/minkunet18_{name}_demo.py' for name in ('linear-probe', '10pct', '100pct')],
}


@dataclass(frozen=True)
class Run:
    """One fine-tuning run.

    Attributes:
        network: Name in the table.
        weights: File to start from, None for random weights.
        protocol: Config file.
        seed: Seed of the run.
        folder: Work directory of the run.
    """

    network: str
    weights: Path | None
    protocol: Path
    seed: int
    folder: Path

    def __str__(self) -> str:
        """What is trained, for errors."""
        return f'{self.network} ({self.weights or "no weights"}) by {self.protocol}, seed {self.seed},'

    @property
    def title(self) -> str:
        """The protocol's name in paths and tables."""
        return config_name(self.protocol)

    @property
    def file(self) -> Path:
        """File with its result."""
        return self.folder / 'result.json'

    def result(self) -> dict | None:
        """Metrics, `seconds`, `memory_mb` and `gpu_memory_mb`; None before it has ended."""
        return json.loads(self.file.read_text()) if self.file.is_file() else None

    def command(self, data_root: str | None, options: list[str]) -> list[str]:
        """Command of the training run; it continues an interrupted one."""
        start = 'load_from=None' if self.weights is None else setting('load_from', self.weights)
        run_options = [f'randomness.seed={self.seed}', start]
        if self.weights is None:
            settings = Config.fromfile(self.protocol).get('random_init_options', {})
            run_options += [f'{name}={value}' for name, value in settings.items()]
        root = ['--data-root', data_root] if data_root else []
        return [
            *(sys.executable, str(tool_file('train')), str(self.protocol), *root),
            *('--work-dir', str(self.folder), '--resume', '--cfg-options', *run_options, *options),
        ]

    def train(self, prefix: list[str], data_root: str | None, options: list[str]) -> dict:
        """Run the command, with its output in `log.txt`, and keep the result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start, log = time.time(), self.folder / 'log.txt'
        with log.open('ab') as output:
            command = [*prefix, *self.command(data_root, options)]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            lines = log.read_text(errors='replace').strip().splitlines() or ['']
            raise PeridotError(f'{self.folder.name} of {self.title} failed ({log}): {lines[-1]}')
        result = {
            **last_metrics(self.folder),
            'seconds': round(time.time() - start, 1),
            'memory_mb': usage.ru_maxrss // 1024,
            'gpu_memory_mb': peak_gpu_memory(self.folder),
        }
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + '\n')
        return result


def parse_network(text: str) -> tuple[str, str | None]:
    """Parse 'random' or 'NAME=FILE' into name and file."""
    name, _, file = text.partition('=')
    if (name == 'random') == bool(file) or not name:
        raise argparse.ArgumentTypeError(f'{text!r}: write random or NAME=FILE')
    return name, file or None


def protocol_files(names: list[str]) -> list[Path]:
    """Config files of presets and of configs that are named."""
    return [Path(config_file(config)) for name in names for config in PRESETS.get(name, [name])]


def seed_file(file: str, seed: int) -> Path:
    """The weights of a network for a seed."""
    return Path(file.replace('{seed}', str(seed))).absolute()


def plan(networks: list[tuple[str, str | None]], protocols: list[Path], seeds: list[int], out: Path) -> list[Run]:
    """List all runs; weights and configs must exist before the first one starts.

    Weights of other programs are converted below `out`.

    Raises:
        CheckpointError: Weights cannot be read or converted.
        ConfigError: A file is missing, or two runs have one work directory.
    """
    for protocol in protocols:
        if not protocol.is_file():
            raise ConfigError(f'protocol {protocol} not found: configs/finetune/ holds them')
    paths = {seed_file(file, seed): name for seed in seeds for name, file in networks if file is not None}
    for path, name in paths.items():
        if not path.is_file():
            raise ConfigError(f'network {name}: {path} does not exist (tools/train.py writes backbone.pth)')
    # imports that take seconds wait until the files are found
    from peridot.weights import loadable

    converted = {path: loadable(path, out.absolute() / 'converted') for path in paths}
    runs = {}
    for seed in seeds:
        for protocol in protocols:
            for name, file in networks:
                folder = out.absolute() / config_name(protocol) / f'{name}_seed{seed}'
                weights = None if file is None else converted[seed_file(file, seed)]
                entry = Run(name, weights, protocol.absolute(), seed, folder)
                if runs.setdefault(folder, entry) is not entry:
                    raise ConfigError(
                        f'{runs[folder]} and {entry} have the same names and would share {folder}: '
                        'rename one, or give it once'
                    )
    return list(runs.values())


def main_metric(result: dict) -> tuple[str, float]:
    """Name and value of the main metric of a run."""
    for end in METRICS:
        for name, value in result.items():
            if name.endswith(end):
                return end, value
    raise PeridotError(f'none of the metrics {METRICS} was logged, only {", ".join(result)}')


def tabulate(runs: list[Run]) -> list[dict]:
    """One row per protocol and network with finished runs: metric, values by seed, mean, spread, time, memory."""
    rows = {}
    for entry in runs:
        result = entry.result()
        if result is not None:
            metric, value = main_metric(result)
            row = rows.setdefault(
                (entry.title, entry.network),
                dict(protocol=entry.title, network=entry.network, metric=metric, values={}, costs=[]),
            )
            row['values'][str(entry.seed)] = value
            row['costs'].append([result['seconds'], max(result['memory_mb'], result['gpu_memory_mb'])])
    for row in rows.values():
        values = np.array(list(row['values'].values()))
        row.update(mean=values.mean(), spread=values.std(ddof=1) if len(values) > 1 else None)
        row['seconds'], row['memory_mb'] = np.mean(row.pop('costs'), 0).round(1).tolist()
    return list(rows.values())


def markdown(rows: list[dict], seeds: list[int]) -> str:
    """Format the rows as a table; the spread is the standard deviation over seeds."""
    lines = [
        '| protocol | network | metric | ' + ' | '.join(f'seed {s}' for s in seeds) + ' | mean | spread | s | MB |',
        '| --- ' * (len(seeds) + 7) + '|',
    ]
    for row in rows:
        values = [f'{row["values"][str(s)]:.3f}' if str(s) in row['values'] else '' for s in seeds]
        spread = '' if row['spread'] is None else f'{row["spread"]:.3f}'
        cells = [row['protocol'], row['network'], row['metric'], *values, f'{row["mean"]:.3f}', spread]
        lines.append('| ' + ' | '.join([*cells, f'{row["seconds"]:.0f}', f'{row["memory_mb"]:.0f}']) + ' |')
    return '\n'.join(lines) + '\n'


def plot(rows: list[dict], path: Path) -> None:
    """Plot the means as bars and the seeds as dots, one group per protocol."""
    matplotlib.use('Agg')
    from matplotlib import pyplot

    protocols = list(dict.fromkeys(row['protocol'] for row in rows))
    networks = list(dict.fromkeys(row['network'] for row in rows))
    figure, axes = pyplot.subplots(figsize=(1.5 + 2.2 * len(protocols), 4), layout='constrained')
    for row in rows:
        index = networks.index(row['network'])
        x = protocols.index(row['protocol']) + (index - (len(networks) - 1) / 2) * 0.8 / len(networks)
        first = row['protocol'] == protocols[0]
        axes.bar(x, row['mean'], 0.75 / len(networks), color=f'C{index}', label=row['network'] if first else None)
        axes.plot([x] * len(row['values']), list(row['values'].values()), 'k.', markersize=5)
    axes.set_xticks(range(len(protocols)), protocols)
    axes.set_ylabel(' / '.join(dict.fromkeys(row['metric'] for row in rows)))
    axes.legend(frameon=False)
    axes.spines[['top', 'right']].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png', dpi=120)
    pyplot.close(figure)


def write(runs: list[Run], seeds: list[int], out: Path) -> str:
    """Write results.json, table.md and plot.png of the finished runs; returns the table."""
    rows = tabulate(runs)
    if not rows:
        return ''
    table = markdown(rows, seeds)
    for name, text in (('results.json', json.dumps(rows, indent=2) + '\n'), ('table.md', table)):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text)
    plot(rows, out / 'plot.png')
    return table


def parse_args() -> argparse.Namespace:
    """Parse networks, protocols, seeds and options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', type=parse_network, required=True, metavar='random|NAME=FILE')
    parser.add_argument(
        '--protocols',
        nargs='+',
        type=config_file,
        required=True,
        metavar='CONFIG',
        help=f'configs, or {", ".join(PRESETS)}',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmark'))
    parser.add_argument('--data-root', help='folder of the data, for every dataset of the configs')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='settings for all runs, as key=value')
    parser.add_argument('--jobs', type=int, default=1, help='number of runs at a time (default: 1)')
    parser.add_argument(
        '--prefix',
        type=shlex.split,
        default=[],
        help='prefix of every command, e.g. "srun --partition=gpu --gres=gpu:1" with --jobs 8 for Slurm',
    )
    return parser.parse_args()


def main() -> None:
    """Run everything that has no result yet, then write the table."""
    args = parse_args()
    runs = plan(args.networks, protocol_files(args.protocols), args.seeds, args.out)
    todo = [entry for entry in runs if entry.result() is None]
    print(f'{len(runs)} runs, {len(runs) - len(todo)} done before', flush=True)
    failures = []
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(entry.train, args.prefix, args.data_root, args.cfg_options): entry for entry in todo}
        for count, job in enumerate(as_completed(jobs), 1):
            entry = jobs[job]
            title = f'[{count}/{len(todo)}] {entry.title} {entry.network} seed {entry.seed}'
            try:
                metric, value = main_metric(job.result())
                print(f'{title}: {metric} {value:.3f}, {job.result()["seconds"]:.0f} s', flush=True)
            except PeridotError as error:
                failures.append(str(error))
                print(f'{title}: failed', flush=True)
            write(runs, args.seeds, args.out)
    print(write(runs, args.seeds, args.out))
    if failures:
        raise PeridotError(f'{len(failures)} of {len(todo)} runs failed, the first: {failures[0]}')
    print(f'{args.out}/table.md, results.json, plot.png')


if __name__ == '__main__':
    run(main)
