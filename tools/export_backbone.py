#!/usr/bin/env python3
"""Write the backbone of a pre-training checkpoint for mmdet3d's configs (`load_from` or `init_cfg`)."""

import argparse
from pathlib import Path

from peridot.cli import check_checkpoint, import_registering, run


def main() -> None:
    """Export the backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of tools/train.py, e.g. work_dirs/olivine_nus/epoch_40.pth')
    parser.add_argument('--out', help='file to write; by default backbone.pth beside the checkpoint')
    parser.add_argument(
        '--import',
        dest='modules',
        action='append',
        default=[],
        metavar='MODULE',
        help='module of your own that registers the student (custom_imports of its config); may be repeated',
    )
    args = parser.parse_args()
    check_checkpoint(args.checkpoint)
    # imports that take seconds wait until folders and files are found
    from peridot.hooks import export_checkpoint

    for name in args.modules:
        import_registering(name, f'--import {name}')
    out = Path(args.out or Path(args.checkpoint).with_name('backbone.pth'))
    export_checkpoint(args.checkpoint, out)
    print(f'written: {out}')


if __name__ == '__main__':
    run(main)
