#!/usr/bin/env python3
"""Losses of the first steps and metrics after them, for configs of configs/demo: a change must not move them.

    python benchmarks/reference_run.py record before.json            # all pre-training configs of the demo
    python benchmarks/reference_run.py record after.json --configs configs/demo/olivine_demo.py
    python benchmarks/reference_run.py compare before.json after.json

`record` trains every config for 20 steps in a process of its own, on one thread and with a fixed seed, evaluates, and
adds the numbers to the file. It needs the synthetic data of the demo and its maps (`tools/demo.py` and
`tools/make_splits.py` make them). `compare` prints the largest relative difference of each config and exits with 1
if one is above the limit.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 20
CONFIGS = sorted(str(path) for path in Path('configs/demo').glob('*_demo.py'))
# configs that evaluate what others trained
UNTRAINED = ('zero-shot', 'discovery')


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    record = commands.add_parser('record', help='train for a few steps and keep the numbers')
    record.add_argument('file', type=Path)
    trained = [config for config in CONFIGS if not any(word in config for word in UNTRAINED)]
    record.add_argument('--configs', nargs='+', default=trained)
    record.add_argument('--data-root', help='as in tools/train.py')
    record.add_argument('--one', action='store_true', help=argparse.SUPPRESS)
    compare = commands.add_parser('compare', help='print the differences of two files')
    compare.add_argument('before', type=Path)
    compare.add_argument('after', type=Path)
    compare.add_argument('--limit', type=float, default=1e-6, help='largest relative difference')
    args = parser.parse_args()
    if args.command == 'compare':
        sys.exit(not print_differences(*map(read, (args.before, args.after)), args.limit))
    if args.one:
        keep(args.file, args.configs[0], train(args.configs[0], args.data_root))
        return
    for config in args.configs:
        command = [sys.executable, __file__, 'record', str(args.file), '--one', '--configs', config]
        command += ['--data-root', args.data_root] if args.data_root else []
        failed = subprocess.call(command, stdout=subprocess.DEVNULL)
        print(f'{config}: {"failed" if failed else read(args.file)[config]["losses"][-1]}', flush=True)


def train(config_file: str, data_root: str | None) -> dict:
    """Losses of `STEPS` steps and the metrics of an evaluation after them."""
    import torch
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from peridot.cli import set_data_root

    class Recorder(Hook):
        """Keeps losses and metrics."""

        def __init__(self) -> None:
            self.losses, self.metrics = [], {}

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            """Keep the losses of a step, each summed to a number."""
            self.losses.append({name: float(value.sum()) for name, value in outputs.items()})

        def after_val_epoch(self, runner, metrics=None) -> None:
            """Keep the metrics of the evaluation."""
            self.metrics = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float))}

    torch.set_num_threads(1)
    config, recorder = Config.fromfile(config_file), Recorder()
    if data_root:
        set_data_root(config, data_root)
    config.randomness = dict(seed=0)
    # fine-tuning starts from random weights: it needs no pre-training run
    config.load_from = None
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=STEPS, val_interval=STEPS)
    config.default_hooks.pop('checkpoint', None)
    config.custom_hooks = [hook for hook in config.get('custom_hooks', []) if 'Picture' not in hook['type']]
    with tempfile.TemporaryDirectory() as config.work_dir:
        runner = Runner.from_cfg(config)
        runner.register_hook(recorder)
        runner.train()
    return dict(losses=recorder.losses, metrics=recorder.metrics)


def read(file: Path) -> dict:
    """Numbers by config."""
    return json.loads(file.read_text()) if file.is_file() else {}


def keep(file: Path, config: str, numbers: dict) -> None:
    """Add the numbers of a config to a file."""
    file.write_text(json.dumps({**read(file), config: numbers}, indent=1) + '\n')


def print_differences(before: dict, after: dict, limit: float) -> bool:
    """Print the largest relative difference of each config; returns whether none is above the limit."""
    equal = set(before) == set(after)
    for name in sorted(set(before) ^ set(after)):
        print(f'{name}: only in one file')
    for config in sorted(set(before) & set(after)):
        old, new = flat(before[config]), flat(after[config])
        same = {key: difference(old[key], new[key]) for key in old if key in new}
        worst = max(same, key=same.get)
        missing = sorted(set(old) ^ set(new))
        print(f'{config}: {len(same)} numbers, largest relative difference {same[worst]:.1e} ({worst})', end='')
        print(f'; only in one: {", ".join(missing[:4])}' if missing else '')
        equal &= same[worst] <= limit
    return equal


def flat(numbers: dict) -> dict[str, float]:
    """All numbers of a config by name."""
    steps = {f'step {i}: {k}': v for i, losses in enumerate(numbers['losses'], 1) for k, v in losses.items()}
    return {**steps, **{f'metric {k}': v for k, v in numbers['metrics'].items()}}


def difference(old: float, new: float) -> float:
    """Relative difference; that of two NaN is 0."""
    if math.isnan(old) or math.isnan(new):
        return 0.0 if math.isnan(old) and math.isnan(new) else math.inf
    return abs(old - new) / max(abs(old), abs(new), 1e-12)


if __name__ == '__main__':
    main()
