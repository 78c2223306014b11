#!/usr/bin/env python3
"""Make weak semantic labels for the training images of a config, see docs/label_maps.md."""

from peridot.cli import load_config, own_command, parse_map_arguments, run
from peridot.labels.generator import build_generator
from peridot.labels.training_maps import make_training_maps


def main() -> None:
    """Run the generator."""
    args = parse_map_arguments('labels', generator='kmeans')
    config = load_config(args)
    generator = build_generator('labels', args.generator, args.options, config)
    previews = make_training_maps(
        config, generator, args.out, args.workers, args.overwrite, args.preview, own_command()
    )
    for path in previews:
        print(path)


if __name__ == '__main__':
    run(main)
