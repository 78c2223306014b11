#!/usr/bin/env python3
"""Segment a folder of images or a video with a trained network, see docs/methods/drive_and_segment.md."""

from peridot.cli import run
from peridot.drive_and_segment.segmentor.segment_images import segment_images_command


def main() -> None:
    """Write the pictures."""
    segment_images_command()


if __name__ == '__main__':
    run(main)
