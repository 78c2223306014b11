"""Make mmdet3d's info files of a dataset, the files they refer to, and for detection its database of objects.

Of own recordings (folder), it also draws the first points on the images, see docs/own_recording.md.
"""

import argparse
from pathlib import Path

from peridot.catalog import CONVERTERS, lookup
from peridot.cli import run
from peridot.datasets.create_infos import create_gt_database
from peridot.visualization.overlays import write_overlays


def parse_args() -> argparse.Namespace:
    """Parse the dataset and the options of its converter."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True)
    for name, converter in CONVERTERS.items():
        command = commands.add_parser(name)
        command.add_argument('--root', type=Path, required=True, help=f'folder with {converter.layout}')
        for option, settings in converter.options.items():
            command.add_argument(option, **settings)
        if lookup(name).detection:
            command.add_argument('--no-gt-database', action='store_true', help='make no database of objects')
    return parser.parse_args()


def main() -> None:
    """Run the converter and list the files."""
    options = vars(parse_args())
    name, root = options.pop('dataset'), options.pop('root')
    with_database = not options.pop('no_gt_database', True)
    paths = CONVERTERS[name].load()(root, verbose=True, **options)
    if with_database and root.resolve() / lookup(name).info_file('train') in paths:
        paths.append(create_gt_database(root, name, verbose=True))
    if CONVERTERS[name].overlays:
        paths += write_overlays(paths[0].parent, paths)
    for path in paths:
        print(path)
    if CONVERTERS[name].then:
        print(CONVERTERS[name].then.format(root=paths[0].parent))


if __name__ == '__main__':
    run(main)
