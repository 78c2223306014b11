#!/usr/bin/env python3
"""Bring the weights of another program into a file for mmdet3d's configs (`load_from` or `init_cfg`)."""

import argparse

from peridot.cli import run
from peridot.weights import KINDS, convert_checkpoint


def main() -> None:
    """Convert and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of the other program')
    parser.add_argument('--out', required=True, help='file to write')
    parser.add_argument(
        '--kind',
        default='auto',
        choices=['auto', *KINDS],
        help="also-second: SECOND's trunk of OpenPCDet (ALSO, also for PV-RCNN); mmdet3d-torchsparse: mmdet3d's "
        'MinkUNet; auto recognizes them, another value refuses everything else',
    )
    args = parser.parse_args()
    kind = convert_checkpoint(args.checkpoint, args.out, args.kind)
    print(f'written: {args.out} ({kind})')


if __name__ == '__main__':
    run(main)
