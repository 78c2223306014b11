#!/usr/bin/env python3
"""Make pseudo-labels, clusters of lidar segments, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.pseudo_labels.segment_kmeans  # noqa: F401  (registers the generator)
from peridot.cli import parse_map_arguments, run
from peridot.labels.training_maps import make_maps_of_config


def main() -> None:
    """Encode the segments, cluster them, and write the maps."""
    make_maps_of_config('labels', parse_map_arguments('labels', generator='segment-kmeans'))


if __name__ == '__main__':
    run(main)
