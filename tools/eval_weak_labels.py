#!/usr/bin/env python3
"""Compare superpixels and weak labels with the lidar points' true classes, see docs/label_maps.md."""

import argparse
from pathlib import Path

from mmengine.config import Config
from peridot.cli import add_config_arguments, add_worker_arguments, load_config, run
from peridot.preflight.inputs import check_map_folders, check_training_paths


def parse_args() -> argparse.Namespace:
    """Parse config, maps and number of samples."""
    parser = argparse.ArgumentParser(
        description='Compare superpixels and weak labels of the training set with the true classes of its points.'
    )
    add_config_arguments(parser)
    parser.add_argument(
        '--maps', nargs='+', required=True, metavar='DIR', help='folders of maps, relative to the data root'
    )
    parser.add_argument('--samples', type=int, default=200, help='number of samples, evenly spaced (default: 200)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/label_quality'), help='folder of the results')
    add_worker_arguments(parser)
    return parser.parse_args()


def check_maps(config: Config, folders: list[str]) -> None:
    """Look for the training set and the folders of maps."""
    check_training_paths(config)
    check_map_folders(config, folders)


def main() -> None:
    """Compare the maps, print the table, write the report."""
    args = parse_args()
    config = load_config(args, lambda config: check_maps(config, args.maps))
    # imports that take seconds wait until folders and files are found
    from peridot.labels.quality import compare_maps
    from peridot.labels.quality_report import quality_tables, write_quality

    comparison = compare_maps(config, args.maps, args.samples, args.workers)
    print(quality_tables(comparison))
    for path in write_quality(comparison, args.out):
        print(path)


if __name__ == '__main__':
    run(main)
