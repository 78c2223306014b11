#!/usr/bin/env python3
"""Make weak semantic labels for the training images of a config, see docs/label_maps.md."""

from peridot.cli import load_config, parse_map_arguments, run
from peridot.preflight.inputs import check_training_paths


def main() -> None:
    """Run the generator."""
    args = parse_map_arguments('labels', generator='kmeans')
    config = load_config(args, check_training_paths)
    # imports that take seconds wait until folders and files are found
    from peridot.labels.training_maps import make_maps_of_config

    make_maps_of_config('labels', args, config)


if __name__ == '__main__':
    run(main)
