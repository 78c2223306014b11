#!/usr/bin/env python3
"""Draw segmentations, detections, features and similarities, without a display, see docs/visualize.md."""

import argparse
from pathlib import Path

from peridot.cli import add_config_arguments, check_checkpoint, load_config, run
from peridot.preflight.inputs import check_figure_paths


def parse_args() -> argparse.Namespace:
    """Parse the kind of figure and its options."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    about = dict(
        seg='ground truth, prediction and errors of a segmentor',
        det='true and predicted boxes of a detector',
        features='features of a pre-trained student or a MinkUNet: principal components, similarity, t-SNE',
        text='similarity to texts, of a student pre-trained with a text-aligned teacher',
        correlation='similarity of a point with all points of several scans, also of several datasets',
    )
    point = dict(type=float, nargs=2, metavar=('X', 'Y'))
    for kind, text in about.items():
        command = kinds.add_parser(kind, help=text, description=text)
        add_config_arguments(command)
        command.add_argument('checkpoint', help='checkpoint of this config')
        command.add_argument('--out', type=Path, required=True, help='folder of the figures')
        command.add_argument('--samples', type=int, default=4, help='number of samples, evenly spaced (default: 4)')
        if kind == 'det':
            command.add_argument('--score-thr', type=float, default=0.3, help='lowest score drawn (default: 0.3)')
        if kind == 'features':
            command.add_argument('--point', **point, help='also draw the similarity to the point nearest to (X, Y)')
            command.add_argument(
                '--per-class', type=int, default=100, help='points per class in the t-SNE (default: 100)'
            )
        if kind == 'text':
            command.add_argument('--texts', nargs='+', required=True, metavar='TEXT', help='one figure each')
            source = command.add_mutually_exclusive_group(required=True)
            source.add_argument('--embeddings', help='file of tools/embed_text.py with these classes or synonyms')
            source.add_argument('--model', help='text network for any text: folder of a CLIP or its name on the hub')
            command.add_argument('--head', default='distill', help="head into the texts' space (default: distill)")
        if kind == 'correlation':
            where = 'the point nearest to (X, Y) of the first sample'
            command.add_argument('--point', **point, required=True, help=where)
            command.add_argument(
                '--also',
                nargs='+',
                default=[],
                metavar='CONFIG[=DATA_ROOT]',
                help='configs whose samples are also compared, with the same network',
            )
            command.add_argument('--head', help="take the features behind this head instead of the student's")
    return parser.parse_args()


def main() -> None:
    """Write the figures of the parsed arguments."""
    args = parse_args()
    check_checkpoint(args.checkpoint)
    config = load_config(args, check_figure_paths)
    # imports that take seconds wait until folders and files are found
    from peridot.scene_figures import write_figures

    write_figures(config, args)


if __name__ == '__main__':
    run(main)
