#!/usr/bin/env python3
"""Which objectives are best together: a greedy search on streets that are neither trained on nor reported.

In every round, each part that is not chosen yet is added to those that are, and the one with the best linear probe on
the tuning streets is kept, mean of two seeds, as long as it gains `MIN_GAIN`. The second seed is spent on those alone
that come within `NEAR` of the best with the first. The parts are objectives of configs/demo/combination_demo.py, with
its student and 4 of its 10 epochs. Writes docs/results/combinations.json and combinations.md after every network; the
same command continues. There are up to 21 networks.

    python benchmarks/combinations.py
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from effect import commit, digest, read
from mmengine.config import Config
from peridot.cli import run, set_data_root
from peridot.demo.comparison import Comparison
from peridot.demo.results import Results
from peridot.files import atomic_path
from peridot.work_dirs import last_metrics

REPO = Path(__file__).resolve().parents[1]
OUT = REPO / 'docs' / 'results'
CONFIG = 'peridot::demo/combination_demo.py'
SEEDS = [0, 1]
EPOCHS = 4
# a smaller difference of two means is within the spread of runs
MIN_GAIN = 0.01
# nor does one run say which of two is better if they differ by less than this
NEAR = 0.03
TABLE = 'tuning_probe_miou'
# objectives of every part
PARTS = {
    'olivine': ('infonce', 'weak', 'vmf'),
    'slidr': ('superpixel',),
    'scalr': ('distance',),
    'also': ('occupancy',),
    'seal': ('temporal', 'segment'),
    'bevcontrast': ('bev',),
}
# what one part alone needs: transforms and maps
STEPS = {
    'peridot.LoadPairLabels': 'olivine',
    'peridot.LoadViewMaps': 'slidr',
    'peridot.LoadLidarSegments': 'seal',
    'peridot.SampleOccupancyQueries': 'also',
}
MAPS = {'labels': 'olivine', 'superpixels': 'slidr', 'lidar_segments': 'seal'}
# parts that look at the next keyframe, too
TWO_FRAMES = {'seal', 'bevcontrast'}


class Search(Comparison):
    """The search. A network is the parts that it is trained with, joined by a plus.

    Args:
        work_dir: Folder for the runs.
    """

    def __init__(self, work_dir: Path) -> None:
        # methods whose maps the parts need
        super().__init__(REPO / 'data' / 'demo', work_dir, ['olivine', 'slidr', 'seal'], SEEDS, [])
        self.tuning_root = REPO / 'data' / 'demo_tuning'
        self.measured = Results(OUT / 'combinations.json', SEEDS)
        self.candidates: list[str] = []
        self.seed = SEEDS[0]

    def run_networks(self) -> None:
        """Add parts while one of them helps."""
        self.stage('tuning streets', self.tool, 'make_demo_data', '--seed', '1', '--out', str(self.tuning_root))
        chosen, best = '', -np.inf
        while candidates := [f'{chosen}+{part}'.strip('+') for part in PARTS if part not in chosen.split('+')]:
            for self.seed in SEEDS:
                self.candidates = candidates
                super().run_networks()
                scores = {name: mean(self.measured.tables[TABLE][name]) for name in candidates}
                candidates = [name for name in candidates if scores[name] >= max(scores.values()) - NEAR]
            winner = max(scores, key=scores.get)
            if scores[winner] < best + MIN_GAIN:
                break
            chosen, best = winner, scores[winner]
        print(f'best on the tuning streets: {chosen}, {best:.3f}')

    def runs(self) -> list[Callable[[], None]]:
        """See `Comparison`: the candidates with one seed. Their configs are made here, in one thread."""
        configs = {name: combined(name.split('+')) for name in self.candidates}
        return [partial(self.run_combination, name, self.seed, config) for name, config in configs.items()]

    def run_combination(self, network: str, seed: int, config: Config) -> None:
        """Pre-train and probe a network that was not measured with these settings before."""
        settings = digest([config.to_dict()])
        if self.measured.has(network, seed, settings):
            print(f'=== {network} seed {seed}: measured before')
            return
        folder = self.work_dir / settings / f'{network}_seed{seed}'
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(config)
        set_data_root(config, str(self.data_root))
        config.val_dataloader.dataset.data_root = str(self.tuning_root)
        config.dump(folder / 'combination.py')
        self.tool(
            'train',
            str(folder / 'combination.py'),
            *('--work-dir', str(folder), '--resume', '--cfg-options', f'randomness.seed={seed}'),
            prefix=f'{network} seed {seed} | ',
        )
        with self.lock:
            probed = last_metrics(folder)['probe/miou']
            self.measured.put(network, seed, {TABLE: probed}, settings, commit())
            with atomic_path(OUT / 'combinations.md') as temporary:
                temporary.write_text(markdown(self.measured))


def combined(parts: list[str]) -> Config:
    """The config of some parts, with all that they need and nothing else."""
    config = read(CONFIG)
    model, dataset = config.model, config.train_dataloader.dataset
    model.objectives = {name: model.objectives[name] for part in parts for name in PARTS[part]}
    heads = [objective.head for objective in model.objectives.values()]
    model.heads = {name: settings for name, settings in model.heads.items() if name in heads}
    dataset.pipeline = [step for step in dataset.pipeline if STEPS.get(step.type, parts[0]) in parts]
    dataset.maps = {name: folder for name, folder in dataset.maps.items() if MAPS[name] in parts}
    if not TWO_FRAMES & set(parts):
        dataset.frames = None
    config.train_cfg.update(max_epochs=EPOCHS, val_interval=EPOCHS)
    config.param_scheduler[0].end = EPOCHS
    return config


def mean(values: list[float | None]) -> float:
    """Mean over the seeds that are measured."""
    return np.mean([value for value in values if value is not None])


def markdown(results: Results) -> str:
    """The networks, the best first."""
    rows = results.tables[TABLE]
    best_first = sorted(rows, key=lambda name: -mean(rows[name]))
    lines = [
        '# Objectives together',
        '',
        f'Linear probe on two tuning streets after {EPOCHS} epochs, mIoU, mean ± sample standard deviation over the',
        f'seeds {", ".join(map(str, SEEDS))}, as far as they are measured; written by `benchmarks/combinations.py`.',
        '',
        '| objectives of | linear probe |',
        '| --- | --- |',
        *(f'| {name.replace("+", ", ")} | {results.quote(TABLE, name)} |' for name in best_first),
    ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure what is missing, and name the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/combinations'))
    Search(parser.parse_args().work_dir.absolute()).run()


if __name__ == '__main__':
    run(main)
