#!/usr/bin/env python3
"""Pre-train a backbone in minutes (`make demo`): data, labels, pre-training, linear probes, report.

Every finished stage is kept in `results.json`: an interrupted demo continues where it stopped, and a run with more
methods adds them.
"""

import argparse
from pathlib import Path

import numpy as np
from peridot.cli import run
from peridot.demo.comparison import Comparison
from peridot.demo.methods import METHODS


class Demo(Comparison):
    """A comparison that ends with a table and a report."""

    def run(self) -> None:
        """Run the stages that are not done yet."""
        super().run()
        # imports all that draws figures, which takes seconds
        from peridot.demo.report import write_report

        self.stage(f'report on {", ".join(self.methods)}', write_report, self.work_dir, self.results)
        self.summarize()

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


def main() -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'))
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=['olivine', 'supervised'])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--cfg-options', nargs='+', default=[], help='settings of the configs to override')
    args = parser.parse_args()
    Demo(args.data_root.absolute(), args.work_dir.absolute(), args.methods, args.seeds, args.cfg_options).run()


if __name__ == '__main__':
    run(main)
