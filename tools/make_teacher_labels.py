#!/usr/bin/env python3
"""Make labels by a trained teacher, one per segment or superpixel, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.segmentor.teacher_labels  # noqa: F401  (registers the generator)
from peridot.cli import parse_map_arguments, run
from peridot.labels.training_maps import make_maps_of_config


def main() -> None:
    """Segment the training images, average over regions, and write the maps."""
    make_maps_of_config('labels', parse_map_arguments('labels', generator='segment-teacher'))


if __name__ == '__main__':
    run(main)
