"""Make mmdet3d's info files for a dataset, what they name and lack, and for detection its database of objects."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.datasets.create_infos import SPLITS, create_gt_database, create_nuscenes_infos
from peridot.datasets.create_infos_kitti import create_kitti_infos, create_semantickitti_infos
from peridot.datasets.create_infos_pandaset import create_pandaset_infos

LAYOUTS = {
    'nuscenes': 'samples/, sweeps/ and v1.0-*/',
    'semantickitti': 'sequences/',
    'kitti': 'ImageSets/ and training/',
    'pandaset': '001/, 002/, ...',
}
DETECTION = ('nuscenes', 'kitti')


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='dataset', required=True)
    for dataset, layout in LAYOUTS.items():
        command = commands.add_parser(dataset)
        command.add_argument('--root', type=Path, required=True, help=f'folder with {layout}')
        if dataset == 'nuscenes':
            command.add_argument('--version', default='v1.0-trainval', choices=list(SPLITS))
            command.add_argument('--max-sweeps', type=int, default=10, help='earlier sweeps listed a sample (10)')
        if dataset in DETECTION:
            command.add_argument('--no-gt-database', action='store_true', help='leave out the objects for ObjectSample')
    return parser.parse_args()


def main() -> None:
    """Run the converters and list the files."""
    args = parse_args()
    if args.dataset == 'nuscenes':
        paths = create_nuscenes_infos(args.root, args.version, args.max_sweeps, verbose=True)
    elif args.dataset == 'kitti':
        paths = create_kitti_infos(args.root, verbose=True)
    elif args.dataset == 'semantickitti':
        paths = create_semantickitti_infos(args.root, verbose=True)
    else:
        paths = create_pandaset_infos(args.root, verbose=True)
    has_objects = (args.root.resolve() / f'{args.dataset}_infos_train.pkl') in paths
    if args.dataset in DETECTION and has_objects and not args.no_gt_database:
        paths.append(create_gt_database(args.root, args.dataset, verbose=True))
    for path in paths:
        print(path)


if __name__ == '__main__':
    run(main)
