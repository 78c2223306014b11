#!/usr/bin/env python3
"""Make weak semantic labels for the training images of a config, see docs/label_maps.md."""

from peridot.cli import run
from peridot.labels.command import make_maps_command


def main() -> None:
    """Run the generator."""
    make_maps_command('labels', default_generator='kmeans')


if __name__ == '__main__':
    run(main)
