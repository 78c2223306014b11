"""Make the embedded default: a synthetic street dataset in nuScenes format, with mmdet3d's info files."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.synthetic import make_dataset


def image_size(text: str) -> tuple[int, int]:
    """'704x396' (width x height) -> (396, 704)."""
    try:
        width, height = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: write width x height, for example 704x396') from None
    return height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('data/demo'), help='folder of the dataset (data/demo)')
    parser.add_argument('--keyframes', type=int, default=7, help='annotated frames a scene (7)')
    parser.add_argument('--sweeps', type=int, default=4, help='lidar sweeps before each keyframe, 0 to 9 (4)')
    parser.add_argument('--image-size', type=image_size, default=(396, 704), metavar='WxH', help='(704x396)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, help='processes (one for each core)')
    parser.add_argument('--overwrite', action='store_true', help='replace a dataset made with other settings')
    args = parser.parse_args()
    make_dataset(args.out, args.keyframes, args.sweeps, args.image_size, args.seed, args.workers, args.overwrite)
    print(f'{args.out}: ready')


if __name__ == '__main__':
    run(main)
