#!/usr/bin/env python3
"""Make pseudo-labels, clusters of lidar segments, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.pseudo_labels.segment_kmeans  # noqa: F401  (registers the generator)
from peridot.cli import load_config, own_command, parse_map_arguments, run
from peridot.labels.generator import build_generator
from peridot.labels.training_maps import make_training_maps


def main() -> None:
    """Encode the segments, cluster them, and write the maps."""
    args = parse_map_arguments('labels', generator='segment-kmeans')
    config = load_config(args)
    generator = build_generator('labels', args.generator, args.options, config)
    previews = make_training_maps(
        config, generator, args.out, args.workers, args.overwrite, args.preview, own_command()
    )
    for path in previews:
        print(path)


if __name__ == '__main__':
    run(main)
