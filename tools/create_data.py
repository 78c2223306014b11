"""Make mmdet3d's info files for a dataset."""

import argparse
from pathlib import Path

from peridot.cli import run
from peridot.datasets.create_infos import SPLITS, create_nuscenes_infos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=['nuscenes'])
    parser.add_argument('--root', type=Path, required=True, help='folder with samples/, sweeps/ and v1.0-*/')
    parser.add_argument('--version', default='v1.0-trainval', choices=list(SPLITS))
    parser.add_argument('--max-sweeps', type=int, default=10, help='earlier sweeps listed for each sample (10)')
    args = parser.parse_args()
    for path in create_nuscenes_infos(args.root, args.version, args.max_sweeps, verbose=True):
        print(path)


if __name__ == '__main__':
    run(main)
