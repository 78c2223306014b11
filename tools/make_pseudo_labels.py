#!/usr/bin/env python3
"""Make pseudo-labels, classes of lidar segments without names, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.pseudo_labels.segment_kmeans  # noqa: F401  (registers the generator)
from peridot.cli import run
from peridot.labels.command import make_maps_command


def main() -> None:
    """Encode the segments, cluster them, write the maps."""
    make_maps_command('labels', default_generator='segment-kmeans')


if __name__ == '__main__':
    run(main)
