#!/usr/bin/env python3
"""Pre-train a backbone in minutes (`make demo`): data, labels, pre-training, linear probes, report.

Every finished stage is kept in `results.json`: an interrupted demo continues where it stopped, and a run with more
methods adds them.
"""

import argparse
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from peridot.cli import run
from peridot.demo.methods import METHODS
from peridot.demo.report import write_report
from peridot.files import usable_cores
from peridot.work_dirs import Stages, last_checkpoint, last_metrics
from streets.dataset import MANIFEST, read_settings
from streets.formats import FORMATS


class Demo(Stages):
    """The stages of the demo, their results and times.

    Args:
        data_root: Folder of the synthetic dataset.
        work_dir: Folder for everything else.
        methods: Methods to pre-train with, all with the same student, teacher family and budget.
        seeds: For each seed one random network is probed, and one pre-training run is made with every method.
        options: `--cfg-options` for all training runs and probes.
    """

    def __init__(
        self, data_root: Path, work_dir: Path, methods: list[str], seeds: list[int], options: list[str]
    ) -> None:
        super().__init__(work_dir, dict(data_root=str(data_root), seeds=seeds, options=options))
        self.data_root = data_root
        self.seeds = seeds
        self.options = options
        self.methods = methods
        if (data_root / MANIFEST).is_file():
            read_settings(data_root)  # refuses streets of an earlier version

    def configured(self, name: str, method: str, seed: int, folder: str, *arguments: str) -> None:
        """Run train.py or test.py on the demo config of a method with one seed."""
        self.tool(
            name,
            demo_config(method),
            *arguments,
            *('--data-root', self.data_roots(method)),
            *('--work-dir', str(self.work_dir / folder)),
            *('--cfg-options', f'randomness.seed={seed}', *self.options),
            prefix=f'seed {seed} | ' if len(self.seeds) > 1 else '',
        )

    def root_of(self, layout: str) -> Path:
        """Folder of the synthetic dataset in a layout."""
        return self.data_root if layout == 'nuscenes' else Path(f'{self.data_root}_{layout}')

    def data_roots(self, method: str) -> str:
        """`--data-root` of a method."""
        formats = METHODS[method].formats
        if not formats:
            return str(self.data_root)
        others = [f'data/demo_{name}={self.root_of(name)}' for name in formats]
        return ','.join([f'data/demo={self.data_root}', *others])

    def make_data(self, layout: str = 'nuscenes') -> None:
        """Make the synthetic dataset, unless the folder holds a dataset with info files (e.g. nuScenes mini)."""
        root = self.root_of(layout)
        if all((root / name).is_file() for name in FORMATS[layout].infos):
            print(f'using the dataset in {root}')
        else:
            self.tool('make_demo_data', '--format', layout, '--out', str(root))

    def prepare(self, method: str) -> None:
        """Make other data, weak labels or superpixels for a method that needs them."""
        for name in METHODS[method].formats:
            self.stage(f'data as {name}', self.make_data, name)
        if METHODS[method].maps:
            stage, tool = METHODS[method].maps
            self.stage(stage, self.tool, tool, demo_config(method), '--data-root', str(self.data_root))

    def pretrain(self, method: str, seed: int) -> None:
        """Run pre-training, or continue an interrupted run."""
        self.configured('train', method, seed, f'{method}_seed{seed}', '--resume')

    def probe(self, network: str, seed: int) -> None:
        """Run a linear probe of an untrained network or of one that a method pre-trained."""
        folder = f'probe_{network}_seed{seed}'
        method, checkpoint = network, []
        if network in METHODS:
            checkpoint = [last_checkpoint(self.work_dir / f'{network}_seed{seed}')]
        else:
            method = next(method for method in self.methods if METHODS[method].untrained == network)
        self.configured('test', method, seed, folder, *checkpoint)
        metrics = last_metrics(self.work_dir / folder)
        with self.lock:
            self.results.setdefault('probe', {}).setdefault(network, {})[str(seed)] = {
                name.removeprefix('probe/'): value for name, value in metrics.items() if name.startswith('probe/')
            }

    def run_seed(self, seed: int) -> None:
        """Probe untrained networks, and pre-train and probe with every method."""
        for network in dict.fromkeys(METHODS[method].untrained for method in self.methods):
            self.stage(f'probe {network} seed {seed}', self.probe, network, seed)
        for method in self.methods:
            self.stage(f'{method} seed {seed}', self.pretrain, method, seed)
            self.stage(f'probe {method} seed {seed}', self.probe, method, seed)

    def run_seeds(self) -> None:
        """Run the seeds side by side, one on each core: the sparse networks are slower on two threads than on one.

        After an error or Ctrl-C no other seed begins.
        """
        failed = threading.Event()

        def run(seed: int) -> None:
            if failed.is_set():
                return
            try:
                self.run_seed(seed)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(min(len(self.seeds), usable_cores())) as pool:
            list(pool.map(run, self.seeds))

    def summarize(self) -> None:
        """Write the table's numbers into `results.json` and print the table."""
        table = {
            network: [probes[str(seed)]['miou'] for seed in self.seeds]
            for network, probes in self.results['probe'].items()
        }
        self.results['linear_probe_miou'] = table
        self.save()
        print(f'\n{"linear probe mIoU":20s}' + ''.join(f'seed {s:<5d}' for s in self.seeds) + 'mean')
        for network, values in table.items():
            print(f'{network:20s}' + ''.join(f'{v:<10.3f}' for v in values) + f'{np.mean(values):.3f}')
        minutes = sum(self.results['seconds'].values()) / 60
        print(f'\nstages of {minutes:.1f} minutes; {self.file}; open {self.work_dir / "report.html"}')


def demo_config(method: str) -> str:
    """Config of a method's demo."""
    return f'configs/demo/{method}_demo.py'


def main() -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=['olivine'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--cfg-options', nargs='+', default=[], help='settings of the configs to override')
    args = parser.parse_args()
    demo = Demo(args.data_root.absolute(), args.work_dir.absolute(), args.methods, args.seeds, args.cfg_options)
    demo.stage('data', demo.make_data)
    for method in demo.methods:
        demo.prepare(method)
    demo.run_seeds()
    demo.stage(f'report on {", ".join(demo.methods)}', write_report, demo.work_dir, demo.results)
    demo.summarize()


if __name__ == '__main__':
    run(main)
