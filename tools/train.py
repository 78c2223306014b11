#!/usr/bin/env python3
"""Train a model: `python tools/train.py CONFIG [--data-root DIR]`, with the options of mmdet3d's train.py."""

import argparse
from functools import partial
from pathlib import Path

from peridot.cli import add_config_arguments, add_runner_arguments, check_checkpoint, load_runner_config, run
from peridot.errors import ConfigError
from peridot.preflight.inputs import check_inputs
from peridot.work_dirs import last_checkpoint


def parse_args() -> argparse.Namespace:
    """Parse config and options of the runner."""
    parser = argparse.ArgumentParser(description='Train a model')
    add_config_arguments(parser)
    add_runner_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='checkpoint to continue from; without a value the last one of the work directory',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size'
    )
    parser.add_argument(
        '--checkpoint-minutes',
        type=float,
        default=30,
        metavar='N',
        help='save a checkpoint after N minutes without one, also within an epoch (default: 30)',
    )
    return parser.parse_args()


def main() -> None:
    """Train, or continue a training run."""
    args = parse_args()
    if args.resume != 'auto':
        check_checkpoint(args.resume)
    config = load_runner_config(args, partial(check_inputs, resumed=bool(args.resume)))
    # imports that take seconds wait until folders and files are found
    import torch
    from peridot.compat import log_report
    from peridot.gpus import memory_of_training
    from peridot.hooks import DurationHook, InterruptionHook, ResumeHook
    from peridot.preflight.precision import precision_warnings
    from peridot.preflight.run import preflight, report_warnings
    from peridot.runner import Runner

    if args.amp:
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in config.get('auto_scale_lr', {}):
            raise ConfigError(f'--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size')
        config.auto_scale_lr.enable = True
    work_dir = Path(config.work_dir)
    if args.resume and args.resume != 'auto':
        config.resume, config.load_from = True, args.resume
    elif args.resume and (work_dir / 'last_checkpoint').is_file():
        # without a checkpoint the run has not started, and load_from still applies
        config.resume, config.load_from = True, last_checkpoint(work_dir)
    if args.launcher != 'none' and torch.cuda.is_available():
        # statistics over all processes, as published; the CPU has no synchronized batch normalization
        config.setdefault('sync_bn', 'torch')
    warnings = preflight(config, everything=args.check == 'all')
    if config.train_cfg.get('by_epoch'):
        config.train_cfg = {'type': 'peridot.TrainLoop', **config.train_cfg}
        del config.train_cfg['by_epoch']
    runner = Runner.from_cfg(config)
    runner.register_hook(ResumeHook())
    runner.register_hook(InterruptionHook(args.checkpoint_minutes))
    runner.register_hook(DurationHook())
    log_report()
    report_warnings([*warnings, *precision_warnings(config, runner.model)])
    with memory_of_training(config):
        runner.train()


if __name__ == '__main__':
    run(main)
