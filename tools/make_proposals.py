#!/usr/bin/env python3
"""Make object proposals from lidar for the images of a config, see docs/methods/drive_and_segment.md."""

from peridot.cli import run
from peridot.drive_and_segment.proposals.make_proposals import make_proposals_command


def main() -> None:
    """Segment all sweeps."""
    make_proposals_command()


if __name__ == '__main__':
    run(main)
