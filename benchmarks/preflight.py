#!/usr/bin/env python3
"""Time of the check before a run on info files as large as those of nuScenes.

Repeats the demo's samples, whose files stay the same, to as many as nuScenes has, with ten sweeps and about as many
objects as there. The straightforward way unpickles the info files and asks for every file of every sample.

    python benchmarks/preflight.py --data-root data/demo
"""

import argparse
import copy
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peridot.datasets  # noqa: F401  (registers)
from mmengine.config import Config
from peridot.cli import run, set_data_root
from peridot.preflight.run import preflight
from peridot.shipped import config_file

CONFIG = config_file('peridot::demo/olivine_demo.py')
SAMPLES = {'nuscenes_infos_train.pkl': 28130, 'nuscenes_infos_val.pkl': 6019}
SWEEPS, OBJECTS, OBJECTS_A_CAMERA = 10, 34, 7


def repeat(source: Path, root: Path) -> None:
    """A data root with many samples, made of one with few."""
    for entry in source.iterdir():
        if entry.name not in SAMPLES:
            (root / entry.name).symlink_to(entry)
    for name, samples in SAMPLES.items():
        content = pickle.loads((source / name).read_bytes())
        infos = content['data_list']
        for info in infos:
            info['lidar_sweeps'] = [copy.deepcopy(info['lidar_sweeps'][0]) for _ in range(SWEEPS)]
            info['instances'] = info['instances'][:OBJECTS]
            info['cam_instances'] = {key: own[:OBJECTS_A_CAMERA] for key, own in info['cam_instances'].items()}
        content['data_list'] = [copy.deepcopy(infos[row % len(infos)]) for row in range(samples)]
        (root / name).write_bytes(pickle.dumps(content))


def look_at_all(root: Path) -> None:
    """Ask for every file that the info files name."""
    for name in SAMPLES:
        for info in pickle.loads((root / name).read_bytes())['data_list']:
            names = [root / 'samples' / 'LIDAR_TOP' / info['lidar_points']['lidar_path']]
            names += [root / 'samples' / camera / item['img_path'] for camera, item in info['images'].items()]
            names += [root / sweep['lidar_points']['lidar_path'] for sweep in info['lidar_sweeps']]
            assert all(name.is_file() for name in names)


def seconds(work: Callable, *arguments) -> float:
    """Time of a call."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def main() -> None:
    """Write the info files, then measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'), help='the demo with its weak labels')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repeat(args.data_root.absolute(), Path(folder))
        config = Config.fromfile(CONFIG)
        set_data_root(config, folder)
        ours, straight = seconds(preflight, config), seconds(look_at_all, Path(folder))
        sizes = ' and '.join(f'{Path(folder, name).stat().st_size / 1e6:.0f} MB' for name in SAMPLES)
    print(f'info files of {sizes}: {ours:.1f} s, straightforward way {straight:.1f} s')
    print(f'{straight / ours:.1f} times faster')


if __name__ == '__main__':
    run(main)
