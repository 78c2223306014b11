#!/usr/bin/env python3
"""Make lidar segments of two keyframes for the training scans of a config, see docs/methods/seal.md."""

import argparse

from peridot.cli import add_map_arguments, load_config, own_command, run
from peridot.options import KeyValues, parse_value
from peridot.preflight.inputs import check_training_paths

FOLDER = 'lidar_segments/hdbscan'


def parse_args() -> argparse.Namespace:
    """Parse config, output folder and settings."""
    parser = argparse.ArgumentParser(
        description='Make lidar segments for every pair of keyframes of the training set of a config. An interrupted '
        'run continues with the same command; under torchrun the processes share the pairs.'
    )
    add_map_arguments(parser, FOLDER)
    parser.add_argument('--options', nargs='+', action=KeyValues, help='settings of the clustering, as key=value')
    args = parser.parse_args()
    args.options = {key: parse_value(text, f'--options {key}') for key, text in (args.options or {}).items()}
    return args


def main() -> None:
    """Cluster all pairs."""
    args = parse_args()
    config = load_config(args, check_training_paths)
    # imports that take seconds wait until folders and files are found
    from peridot.lidar_segments.make import make_lidar_segments, rule_of

    rule, out = rule_of(args.options), args.out or FOLDER
    for path in make_lidar_segments(config, out, rule, args.workers, args.overwrite, args.preview, own_command()):
        print(path)


if __name__ == '__main__':
    run(main)
