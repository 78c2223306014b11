#!/usr/bin/env python3
"""All stages of Drive&Segment with one command, see docs/methods/drive_and_segment.md."""

from peridot.cli import run
from peridot.drive_and_segment.all_stages import drive_and_segment_command


def main() -> None:
    """Run the stages that are not done."""
    drive_and_segment_command()


if __name__ == '__main__':
    run(main)
