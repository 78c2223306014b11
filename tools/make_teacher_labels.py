#!/usr/bin/env python3
"""Labels of a trained teacher, agreed within segments and superpixels, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.segmentor.teacher_labels  # noqa: F401  (registers the generator)
from peridot.cli import run
from peridot.labels.command import make_maps_command


def main() -> None:
    """Segment the training images, let regions agree, write the maps."""
    make_maps_command('labels', default_generator='segment-teacher')


if __name__ == '__main__':
    run(main)
