#!/usr/bin/env python3
"""Evaluate a checkpoint: mmdet3d's test loop, or the validation loop of pre-training, such as the linear probe."""

import argparse
from functools import partial
from pathlib import Path

from mmengine.config import Config
from peridot.cli import add_config_arguments, add_runner_arguments, check_checkpoint, load_runner_config, run
from peridot.preflight.inputs import check_inputs


def parse_args() -> argparse.Namespace:
    """Parse config, checkpoint and options of the runner."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    add_config_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint; without one the random network is evaluated')
    add_runner_arguments(parser)
    return parser.parse_args()


def keep_matching(config: Config) -> None:
    """Let the metric of clusters write which cluster is which class, for tools/segment_images.py."""
    for key in ('val_evaluator', 'test_evaluator'):
        if isinstance(config.get(key), dict) and config[key].get('type') == 'peridot.MatchedMeanIoU':
            config[key].setdefault('matching_file', str(Path(config.work_dir) / 'matching.json'))


def main() -> None:
    """Run mmdet3d's test loop, or the validation loop of pre-training."""
    args = parse_args()
    check_checkpoint(args.checkpoint)
    # the checkpoint replaces `load_from`
    config = load_runner_config(args, partial(check_inputs, training=False, resumed=True))
    # imports that take seconds wait until folders and files are found
    from peridot.compat import log_report
    from peridot.preflight.run import preflight, report_warnings
    from peridot.runner import Runner

    keep_matching(config)
    config.load_from = args.checkpoint
    warnings = preflight(config, training=False, everything=args.check == 'all')
    runner = Runner.from_cfg(config)
    log_report()
    report_warnings(warnings)
    if config.get('test_dataloader'):
        runner.test()
    else:
        runner.val()


if __name__ == '__main__':
    run(main)
