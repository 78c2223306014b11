#!/usr/bin/env python3
"""Rewrite folders of superpixels or weak labels as PNG files or as runs, see docs/label_maps.md."""

import argparse

from peridot.cli import add_worker_arguments, run
from peridot.maps.manifest import FORMS, read_manifest


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', nargs='+', help='folders of maps, with their manifest.json')
    forms = {form.lstrip('.'): form for form in FORMS}
    parser.add_argument('--to', choices=list(forms), default='runs', help='form of the files (default: runs)')
    add_worker_arguments(parser)
    args = parser.parse_args()
    for folder in args.folders:
        read_manifest(folder)
    # imports that take seconds wait until folders and files are found
    from peridot.labels.convert_maps import convert_maps

    for folder in args.folders:
        convert_maps(folder, forms[args.to], args.workers)


if __name__ == '__main__':
    run(main)
