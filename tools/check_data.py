#!/usr/bin/env python3
"""Check the data of a config: what is there, what is missing, what is unusual, and pictures of first samples."""

import argparse
from pathlib import Path

from peridot.cli import add_check_argument, add_config_arguments, load_config, run


def parse_args() -> argparse.Namespace:
    """Parse the config and how much to look at."""
    parser = argparse.ArgumentParser(
        description='Look for everything that training with a config reads. Prints a table of files found and missing '
        'and what is unusual, and writes a picture of the first sample of every dataset with its points on the images, '
        'so that a wrong calibration is seen. Exit status 1 if something is missing.'
    )
    add_config_arguments(parser)
    add_check_argument(parser)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/check_data'), help='folder of the pictures')
    return parser.parse_args()


def main() -> None:
    """Print the table and write the pictures."""
    args = parse_args()
    config = load_config(args)
    # imports that take seconds wait until the config is read
    from peridot.preflight.table import check_data

    check_data(config, args.check == 'all', args.out)


if __name__ == '__main__':
    run(main)
