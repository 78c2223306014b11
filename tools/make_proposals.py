#!/usr/bin/env python3
"""Make object proposals from lidar for the images of a config, see docs/methods/drive_and_segment.md."""

import argparse
from pathlib import Path

from peridot.cli import add_map_arguments, load_config, own_command, run
from peridot.drive_and_segment import PROPOSALS
from peridot.errors import ConfigError
from peridot.files import disk_folder
from peridot.preflight.inputs import check_training_paths


def parse_args() -> argparse.Namespace:
    """Parse config, output folder and options."""
    parser = argparse.ArgumentParser(
        description='Make object proposals from lidar for the training images of a config: 16-bit maps of segments. '
        'An interrupted run continues with the same command; under torchrun the processes share the sweeps.'
    )
    add_map_arguments(parser, PROPOSALS)
    return parser.parse_args()


def main() -> None:
    """Segment all sweeps."""
    args = parse_args()
    config = load_config(args, check_training_paths)
    if 'proposals' not in config:
        raise ConfigError(
            f'{args.config} has no `proposals`, the settings of the lidar: give a config of configs/drive_and_segment'
        )
    # imports that take seconds wait until folders and files are found
    from peridot.drive_and_segment.proposals.generator import ProposalGenerator, paint, sweeps_of
    from peridot.labels import MapJob
    from peridot.labels.training_maps import make_and_preview, training_set

    dataset, data_root = training_set(config)
    sweeps = sweeps_of(dataset)
    generator = ProposalGenerator(sweeps, **config.proposals)
    images = [source for sweep in sweeps for source in sweep.images]
    job = MapJob(images, Path(data_root), disk_folder(data_root, args.out or PROPOSALS), args.workers)
    for path in make_and_preview(generator, job, args.overwrite, args.preview, own_command(), paint):
        print(path)


if __name__ == '__main__':
    run(main)
