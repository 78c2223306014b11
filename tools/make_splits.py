#!/usr/bin/env python3
"""Choose fractions of a dataset's training samples for training with few labels, see docs/splits.md."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.split_files import RULES, training_infos


def parse_args() -> argparse.Namespace:
    """Parse dataset, rule and fractions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=list(RULES))
    parser.add_argument('--root', type=Path, required=True, help='folder with <dataset>_infos_train.pkl')
    parser.add_argument(
        '--rule',
        choices=sorted({rule for rules in RULES.values() for rule in rules}),
        help='; '.join(f'{name}: {", ".join(rules)}' for name, rules in RULES.items()) + ' (default: the first)',
    )
    parser.add_argument('--percent', type=float, nargs='+', default=[1, 5, 10, 25, 100], help='default: 1 5 10 25 100')
    parser.add_argument('--seed', type=int, default=0, help='seed of the rule random (default: 0)')
    parser.add_argument(
        '--scenes',
        choices=['all', 'parametrizing', 'verifying'],
        default='all',
        help="nuScenes: all training scenes, or one part of SLidR's division 600 + 100 (default: all)",
    )
    parser.add_argument(
        '--dbinfos',
        type=Path,
        metavar='FILE',
        help="also cut mmdet3d's ground-truth database, e.g. kitti_dbinfos_train.pkl, to the frames of each split",
    )
    return parser.parse_args()


def main() -> None:
    """Write the splits into <root>/splits and print their numbers of samples."""
    args = parse_args()
    training_infos(args.dataset, args.root)
    # imports that take seconds wait until folders and files are found
    from peridot.datasets.gt_database import cut_database
    from peridot.datasets.splits import make_splits

    splits = make_splits(args.dataset, args.root, args.percent, args.rule, args.scenes, args.seed)
    for split in splits:
        path = split.write(args.root / 'splits')
        print(f'{path}: {len(split.samples)} of {split.available} samples ({split.rule})')
        if args.dbinfos:
            print(cut_database(split, args.dbinfos, args.root))


if __name__ == '__main__':
    run(main)
