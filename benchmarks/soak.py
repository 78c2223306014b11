#!/usr/bin/env python3
"""Memory of a trainer and of its data loader's workers over 300 steps of pre-training; it should stay constant.

    python benchmarks/soak.py configs/demo/olivine_demo.py [--data-root data/demo] [--steps 300] [--limit 1.1]

Prints the memory every 50 steps, of long runs ten times, and exits with 1 if the last value of the trainer or of the
largest worker is more than 10 % above the first one (`--limit`). The data and its maps are those of tools/demo.py.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile

from mmengine.hooks import Hook
from mmengine.runner import Runner
from peridot.cli import add_config_arguments, load_config, run


class MemoryHook(Hook):
    """Keeps and prints the resident memory of this process and of the largest of its workers, in MB.

    Args:
        interval: Steps between two values.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.values: list[tuple[float, float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Read the memory."""
        if self.every_n_train_iters(runner, self.interval):
            workers = [resident(process.pid) for process in multiprocessing.active_children()]
            self.values.append((resident(os.getpid()), max(workers, default=0.0)))
            trainer, worker = self.values[-1]
            print(f'step {runner.iter + 1}: trainer {trainer:.1f} MB, largest worker {worker:.1f} MB', flush=True)

    def growth(self) -> list[float]:
        """Last value / first one of the trainer and, if there are workers, of the largest of them."""
        return [last / first for first, last in zip(self.values[0], self.values[-1]) if first]


def resident(process: int) -> float:
    """Resident memory of a process in MB."""
    with open(f'/proc/{process}/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    """Train and compare the values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--limit', type=float, default=1.1, help='largest last value / first value (default: 1.1)')
    args = parser.parse_args()
    # the first value must lie behind the steps in which caches fill
    config, hook = load_config(args), MemoryHook(max(50, args.steps // 10))
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.steps, val_interval=10 * args.steps)
    config.default_hooks.pop('checkpoint', None)
    config.custom_hooks = []
    config.log_level = 'WARNING'
    with tempfile.TemporaryDirectory() as config.work_dir:
        runner = Runner.from_cfg(config)
        runner.register_hook(hook)
        runner.train()
    print('last value / first:', ', '.join(f'{ratio:.3f}' for ratio in hook.growth()))
    sys.exit(max(hook.growth()) > args.limit)


if __name__ == '__main__':
    run(main)
