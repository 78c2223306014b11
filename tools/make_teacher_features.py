#!/usr/bin/env python3
"""Write the teacher's feature maps for the training images of a config, see docs/methods/scalr.md."""

from peridot.cli import run
from peridot.labels.make_features import make_features_command


def main() -> None:
    """Run the teacher."""
    make_features_command()


if __name__ == '__main__':
    run(main)
