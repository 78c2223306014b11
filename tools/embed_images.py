#!/usr/bin/env python3
"""Embed example images of classes, for teachers without a text network, see docs/open_vocabulary.md."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.cli import add_config_arguments, load_config, run
from peridot.errors import DataError
from peridot.preflight.inputs import check_paths, check_teacher
from peridot.registry import DATASETS, MODELS


def parse_args() -> argparse.Namespace:
    """Parse config, images and output file."""
    parser = argparse.ArgumentParser(description='Embed example images of every class with the teacher of a config')
    add_config_arguments(parser)
    parser.add_argument('images', type=Path, help='folder that holds a folder of images for each class')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(448, 448),
        metavar=('H', 'W'),
        help='size of the images (default: 448 448)',
    )
    parser.add_argument('--out', type=Path, required=True, help='file to write (.safetensors)')
    return parser.parse_args()


def check(config: Config) -> None:
    """Look for the info file that has the classes, and for the weights of the teacher."""
    check_paths(config.get('picture_dataset'))
    check_teacher(config)


def main() -> None:
    """Embed the images and write the file."""
    args = parse_args()
    if not args.images.is_dir():
        raise DataError(f'{args.images} is no folder: give one that holds a folder of images for each class')
    config = load_config(args, check)
    # imports that take seconds wait until folders and files are found
    from peridot.text.image_prototypes import embed_images

    init_default_scope(config.get('default_scope', 'mmdet3d'))
    dataset = DATASETS.build({**config.picture_dataset, 'pipeline': []})
    teacher = MODELS.build(config.model.teacher)
    classes, model = dataset.metainfo['classes'], config.model.teacher.model
    embeddings = embed_images(args.images, classes, teacher, tuple(args.size), model)
    embeddings.save(args.out)
    images, channels = embeddings.vectors.shape
    print(f'{args.out}: {images} images of {len(classes)} classes, dimension {channels}')


if __name__ == '__main__':
    run(main)
