#!/usr/bin/env python3
"""Make labels by a trained teacher, one per segment or superpixel, see docs/methods/drive_and_segment.md."""

import peridot.drive_and_segment.segmentor.teacher_labels  # noqa: F401  (registers the generator)
from peridot.cli import load_config, own_command, parse_map_arguments, run
from peridot.labels.generator import build_generator
from peridot.labels.training_maps import make_training_maps


def main() -> None:
    """Segment the training images, average over regions, and write the maps."""
    args = parse_map_arguments('labels', generator='segment-teacher')
    config = load_config(args)
    generator = build_generator('labels', args.generator, args.options, config)
    previews = make_training_maps(
        config, generator, args.out, args.workers, args.overwrite, args.preview, own_command()
    )
    for path in previews:
        print(path)


if __name__ == '__main__':
    run(main)
