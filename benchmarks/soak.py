#!/usr/bin/env python3
"""Memory of the trainer over 300 steps of the demo's pre-training, printed every 50 steps; it should stay constant.

    python benchmarks/soak.py [--config configs/demo/olivine_demo.py] [--data-root data/demo] [--steps 300]

Exits with 1 if the last value is more than 10 % above the one after the first 50 steps. The data and its maps
are those of tools/demo.py.
"""

import argparse
import resource
import sys
import tempfile

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from peridot.cli import set_data_root

EVERY = 50


class MemoryHook(Hook):
    """Keeps and prints the resident memory of this process in MB."""

    def __init__(self) -> None:
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Read the memory every 50 steps."""
        if (runner.iter + 1) % EVERY == 0:
            with open('/proc/self/statm') as file:
                self.values.append(int(file.read().split()[1]) * resource.getpagesize() / 1e6)
            print(f'step {runner.iter + 1}: {self.values[-1]:.0f} MB', flush=True)


def main() -> None:
    """Train and compare the values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/demo/olivine_demo.py')
    parser.add_argument('--data-root')
    parser.add_argument('--steps', type=int, default=300)
    args = parser.parse_args()
    config, hook = Config.fromfile(args.config), MemoryHook()
    if args.data_root:
        set_data_root(config, args.data_root)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.steps, val_interval=10 * args.steps)
    config.default_hooks.pop('checkpoint', None)
    config.custom_hooks = []
    config.log_level = 'WARNING'
    with tempfile.TemporaryDirectory() as config.work_dir:
        runner = Runner.from_cfg(config)
        runner.register_hook(hook)
        runner.train()
    ratio = hook.values[-1] / hook.values[0]
    print(f'last value / first: {ratio:.2f}')
    sys.exit(ratio > 1.1)


if __name__ == '__main__':
    main()
