#!/usr/bin/env python3
"""Write the teacher's feature maps for the training images of a config, see docs/methods/scalr.md."""

import argparse

from mmengine.config import Config
from peridot.cli import add_config_arguments, add_worker_arguments, load_config, own_command, run
from peridot.preflight.inputs import check_teacher, check_training_paths


def parse_args() -> argparse.Namespace:
    """Parse config, output folder and batch size."""
    parser = argparse.ArgumentParser(
        description='Write the feature maps of the teacher for the training images of a config, in half precision. '
        'An interrupted run continues with the same command; under torchrun the processes share the images.'
    )
    add_config_arguments(parser)
    parser.add_argument(
        '--out',
        help='folder of the maps, relative to the data root (default: maps.teacher_features of the training set, '
        'else teacher_features/MODEL_HxW)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace maps made with other settings')
    parser.add_argument('--yes', action='store_true', help='start even if the disk seems too small')
    parser.add_argument('--batch-size', type=int, default=8, help='images per pass of the network (default: 8)')
    add_worker_arguments(parser, 'processes that read images')
    return parser.parse_args()


def check(config: Config) -> None:
    """Look for the images and for the weights of the teacher."""
    check_training_paths(config)
    check_teacher(config)


def main() -> None:
    """Run the teacher on all images."""
    args = parse_args()
    config = load_config(args, check)
    # imports that take seconds wait until folders and files are found
    from peridot.labels.make_features import make_teacher_features

    make_teacher_features(config, args.out, args.batch_size, args.workers, args.overwrite, args.yes, own_command())


if __name__ == '__main__':
    run(main)
