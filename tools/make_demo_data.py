"""Make a synthetic street dataset in another dataset's layout, with mmdet3d's info files."""

import argparse
from pathlib import Path

from peridot.cli import run
from streets import make_dataset
from streets.formats import FORMATS


def image_size(text: str) -> tuple[int, int]:
    """Parse '704x396' (width x height) as (396, 704)."""
    try:
        width, height = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: write width x height, for example 704x396') from None
    return height, width


def main() -> None:
    """Make the dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--format', choices=list(FORMATS), default='nuscenes')
    parser.add_argument('--out', type=Path, help='folder of the dataset (default: data/demo, or data/demo_FORMAT)')
    parser.add_argument('--keyframes', type=int, default=7, help='keyframes per scene (default: 7)')
    parser.add_argument('--sweeps', type=int, help='sweeps before each keyframe, 0 to 9; nuScenes only (default: 4)')
    parser.add_argument(
        '--image-size', type=image_size, metavar='WxH', help='default: 704x396; KITTI: 1242x375; Argoverse 2: 512x388'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, help='number of processes (default: one per core)')
    parser.add_argument('--overwrite', action='store_true', help='replace a dataset made with other settings')
    parser.add_argument(
        '--prototypes',
        type=int,
        metavar='N',
        help='also write N image crops per class to OUT/prototypes, for tools/embed_images.py; nuScenes only',
    )
    args = parser.parse_args()
    out = args.out or Path('data/demo' if args.format == 'nuscenes' else f'data/demo_{args.format}')
    make_dataset(
        out,
        args.keyframes,
        args.sweeps,
        args.image_size,
        args.seed,
        args.workers,
        args.overwrite,
        format=args.format,
    )
    if args.prototypes:
        # imports torch, which takes seconds
        from peridot.labels.prototypes import write_prototypes

        write_prototypes(out, args.prototypes)
    print(f'{out}: ready')


if __name__ == '__main__':
    run(main)
