"""Make mmdet3d's info files of a dataset, the files they refer to, and for detection its database of objects.

Of own recordings (folder), it also draws the first points on the images, see docs/own_recording.md.
"""

import argparse
from pathlib import Path

from peridot.catalog import CONVERTERS, MISSING, lookup
from peridot.cli import run
from peridot.shipped import with_paths


def parse_args() -> argparse.Namespace:
    """Parse the dataset and the options of its converter."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True)
    for name, converter in CONVERTERS.items():
        command = commands.add_parser(name)
        command.add_argument('--root', type=Path, required=True, help=f'folder with {converter.layout}')
        command.add_argument(
            '--out', type=Path, help='folder for the files and for links to the dataset (default: that of the dataset)'
        )
        command.add_argument(
            '--missing',
            choices=MISSING,
            default='skip',
            help='what needs absent files is left out and counted (skip, the default), or stops the command (error)',
        )
        for option, settings in converter.options.items():
            command.add_argument(option, **settings)
        if lookup(name).detection:
            command.add_argument('--no-gt-database', action='store_true', help='make no database of objects')
    return parser.parse_args()


def main() -> None:
    """Run the converter and list the files."""
    options = vars(parse_args())
    name, root, out = (options.pop(key) for key in ('dataset', 'root', 'out'))
    with_database = not options.pop('no_gt_database', True)
    converter = CONVERTERS[name]
    parts = converter.find_parts(root)
    # imports that take seconds wait until folders and files are found
    from peridot.datasets.create_infos import create_gt_database
    from peridot.datasets.linked_folder import link_dataset
    from peridot.visualization.overlays import write_overlays

    folder = root if out is None else link_dataset(root, out, parts)
    paths = converter.load()(folder, verbose=True, **options)
    if converter.overlays:
        paths += write_overlays(folder, paths)
    print(*paths, sep='\n')
    if with_database and folder.resolve() / lookup(name).info_file('train') in paths:
        print(create_gt_database(folder, name, options['missing'], verbose=True) or '')
    if converter.then:
        print(with_paths(converter.then.format(root=folder)))


if __name__ == '__main__':
    run(main)
