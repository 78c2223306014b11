#!/usr/bin/env python3
"""Make superpixels for the training images of a config, see docs/label_maps.md."""

from peridot.cli import parse_map_arguments, run
from peridot.labels.training_maps import make_maps_of_config


def main() -> None:
    """Run the generator."""
    make_maps_of_config('superpixels', parse_map_arguments('superpixels', generator='slic'))


if __name__ == '__main__':
    run(main)
