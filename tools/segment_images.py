#!/usr/bin/env python3
"""Segment a folder of images or a video with a trained network, see docs/methods/drive_and_segment.md."""

import argparse
import logging
from pathlib import Path

from mmengine.logging import print_log
from peridot.cli import add_config_arguments, check_checkpoint, load_config, run
from peridot.drive_and_segment import VIDEOS
from peridot.errors import ConfigError, DataError, PeridotError


def parse_args() -> argparse.Namespace:
    """Parse network, input and output."""
    parser = argparse.ArgumentParser(
        description='Segment images or a video with a trained network. Existing overlays are kept: an interrupted '
        'run continues with the same command.'
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='weights of the network')
    parser.add_argument('input', type=Path, help='folder of images, searched recursively, or a video file')
    parser.add_argument('out', type=Path, help='folder of the overlays')
    parser.add_argument('--matching', help='matching.json of an evaluation: also overlays in the colors of classes')
    parser.add_argument('--opacity', type=float, default=0.6, help='1 hides the image (default: 0.6)')
    return parser.parse_args()


def main() -> None:
    """Write the overlays; images that cannot be read are reported once the others are done."""
    args = parse_args()
    if not 0 < args.opacity <= 1:
        raise ConfigError(f'--opacity {args.opacity} must be above 0 and at most 1')
    source, out = args.input, args.out
    is_video = source.suffix.lower() in VIDEOS
    if not (source.is_file() if is_video else source.is_dir()):
        raise DataError(f'{source} is neither a folder of images nor a video ({", ".join(VIDEOS)}): check the path')
    check_checkpoint(args.checkpoint)
    config = load_config(args)
    # imports that take seconds wait until folders and files are found
    from peridot.drive_and_segment.segmentor import segment_images

    segmentor = segment_images.ImageSegmentor(config, args.checkpoint)
    count = segmentor.network.out_channels
    palettes = [segment_images.cluster_palette(count)]
    if args.matching:
        palettes.append(segment_images.class_palette(args.matching, count))
    if is_video:
        segment_images.segment_video(segmentor, source, out, palettes, args.opacity)
        failures = []
    else:
        failures = segment_images.segment_folder(segmentor, source, out, palettes, args.opacity)
    for failure in failures[1:]:
        print_log(failure, 'current', logging.WARNING)
    if failures:
        raise PeridotError(f'{failures[0]} ({len(failures)} images were left out, the others are in {out})')
    print(out)


if __name__ == '__main__':
    run(main)
