#!/usr/bin/env python3
"""Make labels by a trained teacher, one per segment or superpixel, see docs/methods/drive_and_segment.md."""

from peridot.cli import load_config, parse_map_arguments, run
from peridot.preflight.inputs import check_training_paths


def main() -> None:
    """Segment the training images, average over regions, and write the maps."""
    args = parse_map_arguments('labels', generator='segment-teacher')
    config = load_config(args, check_training_paths)
    # imports that take seconds wait until folders and files are found
    import peridot.drive_and_segment.segmentor.teacher_labels  # noqa: F401  (registers the generator)
    from peridot.labels.training_maps import make_maps_of_config

    make_maps_of_config('labels', args, config)


if __name__ == '__main__':
    run(main)
