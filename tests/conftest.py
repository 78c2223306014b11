import gc
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# test processes side by side (pytest -n) share the cores; set before torch is imported
if workers := int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 0)):
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, os.cpu_count() // workers)))

import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import pytest
from filelock import FileLock
from mmengine.registry import DefaultScope
from mmengine.utils import ManagerMixin
from peridot.evaluation import linear_probe

REPO = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """Hide what was imported from the garbage collector, which mmengine calls for every dataset."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def configs_without_layout() -> Iterator[None]:
    """Written configs keep their contents: laying them out takes yapf longer than a training of one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **options: (text, False))
        yield


@pytest.fixture(scope='session', autouse=True)
def brief_probes() -> Iterator[None]:
    """Evaluations fit their probes for two epochs: with all of them they take most of the time of a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, 'fit_linear_probe', partial(linear_probe.fit_linear_probe, epochs=2))
        yield


@pytest.fixture(scope='session')
def make_once(tmp_path_factory) -> Callable:
    """`make_once(name, make)`: the folder of that name, filled by `make(folder)` in one of the test processes."""

    def folder(name: str, make: Callable[[Path], None], root: Path | None = None) -> Path:
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
        root = root or shared / name
        with FileLock(shared / f'{name}.lock'):
            if not (shared / f'{name}.made').is_file():
                make(root)
                (shared / f'{name}.made').touch()
        return root

    return folder


@pytest.fixture(scope='session')
def demo_root(make_once) -> Path:
    """A small synthetic street dataset in nuScenes format with mmdet3d's info files.

    `PERIDOT_TEST_DATA` names a folder that keeps it between runs.
    """
    from streets import make_dataset

    kept = os.environ.get('PERIDOT_TEST_DATA')
    settings = dict(keyframes=2, sweeps=1, image_size=(198, 352), seed=0, workers=2)
    return make_once('demo', lambda root: make_dataset(root, **settings), Path(kept) if kept else None)


@pytest.fixture
def golden():
    """Arrays of a released function's inputs and outputs, by name; skips when the folder is absent."""
    folder = Path(os.environ.get('PERIDOT_GOLDEN', REPO.parent / 'shared' / 'golden'))

    def load(name: str) -> dict[str, np.ndarray]:
        path = folder / f'{name}.npz'
        if not path.is_file():
            pytest.skip(f'{path} is absent: set PERIDOT_GOLDEN to the folder with the golden vectors')
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def free_port() -> int:
    """A port on this machine that nothing listens on."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def classes_below(kind: type) -> list[type]:
    """A class and all that inherit from it."""
    return [kind, *(child for direct in kind.__subclasses__() for child in classes_below(direct))]


@pytest.fixture(scope='session')
def run_program() -> Callable:
    """`run_program('tools/train.py', CONFIG, ...)`: a file as a program in this process; an error is a SystemExit."""

    def run(path: str, *arguments) -> None:
        # mmengine keeps loggers, message hubs and visualizers by name; two runs of one second have one name
        for kind in set(classes_below(ManagerMixin)) - {DefaultScope}:
            kind._instance_dict.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [path, *map(str, arguments)])
            runpy.run_path(path, run_name='__main__')

    return run


@pytest.fixture(scope='session')
def run_tool(run_program) -> Callable:
    """`run_tool('train', CONFIG, ...)`: a program of tools/ in this process, whose imports are done.

    An error is a SystemExit. Programs that it starts with `subprocess.call` run here, too.
    """

    def run(name: str, *arguments) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(REPO)
            patch.setattr(subprocess, 'call', status)
            run_program(f'tools/{name}.py', *arguments)

    def status(command: list[str]) -> int:
        try:
            run(Path(command[1]).stem, *command[2:])
        except SystemExit as stop:
            print(stop.code, file=sys.stderr)
            return 1 if stop.code else 0
        return 0

    return run


@pytest.fixture(scope='session')
def labeled_root(demo_root, run_tool, make_once) -> Path:
    """`demo_root` with the weak labels, superpixels and, of the first sample, lidar segments that the demo reads."""

    def make_maps(root: Path) -> None:
        for tool, config in (('make_weak_labels', 'olivine_demo'), ('make_superpixels', 'slidr_demo')):
            run_tool(tool, f'configs/demo/{config}.py', '--data-root', root)
        first = ['--workers', 1, '--cfg-options', 'train_dataloader.dataset.indices=1']
        run_tool('make_lidar_segments', 'configs/demo/seal_demo.py', '--data-root', root, *first)

    return make_once('maps', make_maps, demo_root)


@pytest.fixture(scope='session')
def objects_root(demo_root, make_once) -> Path:
    """`demo_root` with the database of objects that nuScenes detectors paste into scenes."""
    from peridot.datasets.create_infos import create_gt_database

    return make_once('objects', lambda root: create_gt_database(root, 'nuscenes'), demo_root)


def first_streets(
    root: Path, format: str, streets: int, keyframes: int, image_size: tuple[int, int] = (188, 621)
) -> None:
    """The first synthetic streets in a layout; the second one is for validation."""
    from streets import dataset, make_dataset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, 'SCENES', dataset.SCENES[:streets])
        make_dataset(root, keyframes, image_size=image_size, workers=1, progress=False, format=format)


def kept_root(name: str) -> Path | None:
    kept = os.environ.get('PERIDOT_TEST_DATA')
    return Path(f'{kept}_{name}') if kept else None


@pytest.fixture(scope='session')
def kitti_root(make_once) -> Path:
    """Three streets in the layout of KITTI's object benchmark, a frame each, with info files and object database.

    The database has objects of all three classes that mmdet3d's detectors ask for.
    """
    from peridot.datasets.create_infos import create_gt_database

    def make(root: Path) -> None:
        first_streets(root, 'kitti', 3, 1)
        create_gt_database(root, 'kitti')

    return make_once('kitti', make, kept_root('kitti'))


def copy_scans(scans: Path, root: Path, pattern: str, splits: dict[str, str]) -> None:
    """Scans of a folder under other names, and files that list them."""
    for number, path in enumerate(sorted(scans.glob('*.bin'))):
        copy = root / pattern.format(number)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for name, text in splits.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture(scope='session')
def kitti360_root(kitti_root, make_once) -> Path:
    """The scans of `kitti_root` in the layout of KITTI-360."""
    drive = '2013_05_28_drive_0000_sync'
    pattern = f'data_3d_raw/{drive}/velodyne_points/data/{{:010d}}.bin'
    window = f'data_3d_semantics/train/{drive}/static/0000000000_0000000385.ply\n'
    splits = {f'data_3d_semantics/train/2013_05_28_drive_{name}.txt': window for name in ('train', 'val')}
    scans = kitti_root / 'training' / 'velodyne'
    return make_once('kitti360', lambda root: copy_scans(scans, root, pattern, splits))


@pytest.fixture(scope='session')
def once_root(kitti_root, make_once) -> Path:
    """The scans of `kitti_root` in the layout of ONCE."""
    splits = {f'ImageSets/{name}.txt': '000027\n' for name in ('raw_small', 'val')}
    scans = kitti_root / 'training' / 'velodyne'
    return make_once('once', lambda root: copy_scans(scans, root, 'data/000027/lidar_roof/{:013d}.bin', splits))


@pytest.fixture(scope='session')
def semantickitti_root(make_once) -> Path:
    """Two streets in the layout of SemanticKITTI, two scans each, with info files."""

    def make(root: Path) -> None:
        first_streets(root, 'semantickitti', 2, 2)

    return make_once('semantickitti', make, kept_root('semantickitti'))


@pytest.fixture(scope='session')
def pandaset_root(make_once) -> Path:
    """Two streets in the layout of PandaSet, two frames each, with clouds, labels and info files of both lidars."""

    def make(root: Path) -> None:
        first_streets(root, 'pandaset', 2, 2, (108, 192))

    return make_once('pandaset', make, kept_root('pandaset'))


@pytest.fixture(scope='session')
def folder_root(make_once) -> Path:
    """Two streets as own recordings, two scans each, with points, labels and info files: those of `demo_root`."""

    def make(root: Path) -> None:
        first_streets(root, 'folder', 2, 2, (198, 352))

    return make_once('folder', make, kept_root('folder'))


@pytest.fixture(scope='session')
def superpixel_folder_root(folder_root, run_tool, make_once) -> Path:
    """`folder_root` with the superpixels that SLidR reads."""

    def make(root: Path) -> None:
        run_tool('make_superpixels', 'configs/demo/slidr_folder_demo.py', '--data-root', root, '--workers', 1)

    return make_once('folder_superpixels', make, folder_root)


@pytest.fixture(scope='session')
def argoverse2_root(make_once, run_tool) -> Path:
    """Two streets in the layout of Argoverse 2, two sweeps each, with clouds, info files and the classes of pixels."""

    def make(root: Path) -> None:
        first_streets(root, 'argoverse2', 2, 2, (108, 144))
        labels = ['--generator', 'oracle', '--out', 'weak_labels/kmeans', '--workers', 1, '--data-root', root]
        run_tool('make_weak_labels', 'configs/pretrain/olivine_argoverse2.py', *labels)

    return make_once('argoverse2', make, kept_root('argoverse2'))
