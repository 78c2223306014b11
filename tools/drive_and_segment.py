#!/usr/bin/env python3
"""Run all stages of Drive&Segment, see docs/methods/drive_and_segment.md."""

import argparse
from pathlib import Path

from peridot.cli import check_config_file, run
from peridot.errors import DataError
from peridot.shipped import config_file


def parse_args() -> argparse.Namespace:
    """Parse config, data root and seeds."""
    parser = argparse.ArgumentParser(
        description='Run all stages of Drive&Segment: proposals, pseudo-labels, superpixels, teacher, its labels, '
        'students and their scores on held-out images. An interrupted run continues with the same command.'
    )
    parser.add_argument('config', type=config_file, help='config file, such as peridot::drive_and_segment/nuscenes.py')
    parser.add_argument('--data-root', type=Path, required=True, help='folder of the dataset')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/drive_and_segment_NAME')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='seeds of the networks (default: 0)')
    return parser.parse_args()


def main() -> None:
    """Run the stages that are not done yet."""
    args = parse_args()
    config = Path(args.config)
    check_config_file(config)
    if not args.data_root.is_dir():
        raise DataError(f'the data root {args.data_root} does not exist: give the folder of the dataset')
    # imports that take seconds wait until folders and files are found
    from peridot.drive_and_segment.all_stages import DriveAndSegment

    work_dir = args.work_dir or Path('work_dirs') / f'drive_and_segment_{config.stem}'
    DriveAndSegment(config.absolute(), args.data_root.absolute(), work_dir.absolute(), args.seeds).run()


if __name__ == '__main__':
    run(main)
