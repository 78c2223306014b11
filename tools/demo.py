#!/usr/bin/env python3
"""Pre-train a backbone in minutes (`make demo`): data, labels, pre-training, linear probes, report.

A first look trains for 40 % of the configs' epochs; `--full` is the comparison of the documentation, in a folder of its
own. Every finished stage is kept in `results.json`: an interrupted demo continues where it stopped, and a run with more
methods or seeds adds them.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
from peridot.cli import run
from peridot.demo import programs
from peridot.demo.comparison import Comparison
from peridot.demo.methods import METHODS
from peridot.errors import PeridotError

SEEDS = [0, 1, 2]  # of the tables in the documentation
FIRST_LOOK = 0.4  # share of the configs' epochs


class Demo(Comparison):
    """A comparison that ends with a table and a report."""

    def run(self) -> None:
        """Run the stages that are not done yet."""
        start = time.time()
        super().run()
        results = self.complete()
        methods = [network for network in results['probe'] if network in METHODS]
        seeds = ', '.join(map(str, self.seeds))
        self.summarize(results['probe'])
        self.stage(f'report on {", ".join(methods)}, seeds {seeds}', self.report, results)
        print(f'\n{self.work_dir / "report.html"} and {self.file}, {(time.time() - start) / 60:.1f} minutes')

    def report(self, results: dict) -> None:
        """Write `report.html`."""
        if not programs.can_fork():
            programs.make_report(self.work_dir, results)
        elif programs.run_forked(programs.make_report, self.work_dir, results) != 0:
            raise PeridotError(f'the report of {self.file} failed; fix the cause and run the same command to continue')

    def summarize(self, probes: dict[str, dict[str, dict[str, float]]]) -> None:
        """Write the table's numbers into `results.json` and print the table."""
        table = {network: [own['miou'] for own in found.values()] for network, found in probes.items()}
        self.results['linear_probe_miou'] = table
        self.save()
        print(f'\n{"linear probe mIoU":25s}' + ''.join(f'seed {s:<5d}' for s in self.seeds) + 'mean')
        for network, values in table.items():
            print(f'{network:25s}' + ''.join(f'{v:<10.3f}' for v in values) + f'{np.mean(values):.3f}')


def full_table(arguments: list[str]) -> str:
    """The command line of the documentation's table for these arguments."""
    kept, skipping = [], False
    for word in arguments:
        skipping = word == '--seeds' or (skipping and not word.startswith('--'))
        kept += [] if skipping or word == '--full' else [word]
    return shlex.join([os.path.relpath(sys.executable), 'tools/demo.py', *kept, '--full', '--seeds', *map(str, SEEDS)])


def main() -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'))
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/demo, with --full work_dirs/demo_full')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=['olivine', 'supervised'])
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS[:1], help='default: 0')
    parser.add_argument('--full', action='store_true', help='train for all epochs of the configs')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='settings of the configs to override')
    args = parser.parse_args()
    work_dir = args.work_dir or Path('work_dirs', 'demo_full' if args.full else 'demo')
    share = 1.0 if args.full else FIRST_LOOK
    Demo(args.data_root.absolute(), work_dir.absolute(), args.methods, args.seeds, args.cfg_options, share).run()
    if not args.full or not set(SEEDS) <= set(args.seeds):
        print(f'the table of the documentation, all epochs and three seeds: {full_table(sys.argv[1:])}')
        print(f'other methods beside these: --methods {" ".join(METHODS)}')


if __name__ == '__main__':
    run(main)
