"""mmdet3d's info files (v2) and object databases, made by mmdet3d's own converters; here those of nuScenes."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from mmengine.registry import DefaultScope

from peridot.datasets.catalog import CATALOG, CatalogEntry, create_command, lookup
from peridot.datasets.catalog.nuscenes import VERSIONS
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path

_TABLES = ('category', 'attribute', 'visibility', 'instance', 'sensor', 'calibrated_sensor', 'ego_pose', 'log')
_TABLES += ('scene', 'sample', 'sample_data', 'map')


def create_nuscenes_infos(
    root: str | os.PathLike, version: str = 'v1.0-trainval', max_sweeps: int = 10, verbose: bool = False
) -> list[Path]:
    """Write `nuscenes_infos_{train,val}.pkl` (or `_test`) into the dataset's folder, in mmdet3d's v2 format.

    If nuScenes-lidarseg is unpacked there, the infos have `pts_semantic_mask_path`.

    Args:
        root: Folder with `samples/`, `sweeps/` and the tables' folder.
        version: 'v1.0-mini' | 'v1.0-trainval' | 'v1.0-test'.
        max_sweeps: Earlier sweeps listed for each sample.
        verbose: Show the output of the converter.

    Returns:
        The files.

    Raises:
        ConfigError: Unknown version, or mmdet3d came without its tools.
        DataError: Folders or tables are missing.
    """
    root = Path(root).resolve()
    _check(root, version)
    converter, updater = load_converter('nuscenes_converter'), load_converter('update_infos_to_v2')
    # the converter works in several passes over its own files: under final names an interruption would leave halves
    with unfinished_folder(root) as work, _opened(updater, version, root), converter_output(verbose):
        (work / 'v1').mkdir()
        (work / 'v2').mkdir()
        converter.create_nuscenes_infos(str(root), f'{work.name}/v1/nuscenes', version, max_sweeps)
        for split in VERSIONS[version]:
            updater.update_nuscenes_infos(f'{work}/v1/nuscenes_infos_{split}.pkl', f'{work}/v2')
        return [move_into(path, root) for path in sorted((work / 'v2').iterdir())]


def create_gt_database(root: str | os.PathLike, dataset: str, verbose: bool = False) -> Path:
    """Cut the objects out of the training scans, for mmdet3d's `ObjectSample`.

    Writes `{dataset}_gt_database/` and `{dataset}_dbinfos_train.pkl` into the dataset's folder. nuScenes' objects
    gather the points of ten sweeps, as mmdet3d's configs need them.

    Args:
        root: Folder with `{dataset}_infos_train.pkl`.
        dataset: One whose catalog entry has `detection`: 'nuscenes' | 'kitti'.
        verbose: Show the output of the converter.

    Returns:
        The `.pkl` file.

    Raises:
        ConfigError: No such database exists for the dataset, or mmdet3d came without its tools.
        DataError: The info file is missing.
    """
    root = Path(root).resolve()
    entry = lookup(dataset)
    if entry.detection is None:
        known = ', '.join(name for name, other in CATALOG.items() if other.detection)
        raise ConfigError(f'dataset {dataset!r}: object databases exist for {known}')
    infos = root / entry.info_file('train')
    if not infos.is_file():
        raise DataError(f'{infos} is missing: make it with `{create_command(root, dataset)}`')
    kind = entry.detection['type'].removeprefix('mmdet3d.')
    create = load_converter('create_gt_database').create_groundtruth_database
    names = f'{dataset}_gt_database', f'{dataset}_dbinfos_train.pkl'
    with unfinished_folder(root) as work, converter_output(verbose), DefaultScope.overwrite_default_scope('mmdet3d'):
        database, db_infos = (str(work / name) for name in names)
        create(kind, f'{root}/', dataset, infos.name, None, None, database, db_infos)
        shutil.rmtree(root / names[0], ignore_errors=True)
        return [move_into(work / name, root) for name in names][-1]


def _check(root: Path, version: str) -> None:
    if version not in VERSIONS:
        raise ConfigError(f'version {version!r}: nuScenes has {", ".join(VERSIONS)}')
    wanted = [root / 'samples' / 'LIDAR_TOP', root / version]
    names = _TABLES if version == 'v1.0-test' else (*_TABLES, 'sample_annotation')
    wanted += [root / version / f'{name}.json' for name in names]
    for path in wanted:
        if not path.exists():
            raise DataError(f'{path} is missing: unpack nuScenes {version} into {root}, or name its folder with --root')


def write_infos(folder: Path, entry: CatalogEntry, split: str, samples: list[dict]) -> Path:
    """Write the info file of a split, in mmdet3d's v2 format; returns it."""
    path = folder / entry.info_file(split)
    metainfo = {'dataset': entry.name, 'info_version': '1.1', 'split': split}
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': samples}))
    return path


def load_converter(name: str) -> ModuleType:
    """A module of the dataset converters that mmdet3d installs next to its package.

    Raises:
        ConfigError: mmdet3d came without them.
    """
    import mmdet3d

    package = Path(mmdet3d.__file__).parent
    folders = [package / '.mim', package.parent]  # a wheel, or a clone installed in place
    for folder in folders:
        if (folder / 'tools' / 'dataset_converters' / f'{name}.py').is_file():
            break
    else:
        raise ConfigError(f'{package}/.mim/tools is missing: install mmdet3d from its wheel or with pip install -e')
    sys.path.insert(0, str(folder / 'tools'))
    try:
        return importlib.import_module(f'dataset_converters.{name}')
    finally:
        sys.path.pop(0)


@contextlib.contextmanager
def unfinished_folder(root: Path) -> Iterator[Path]:
    """A hidden folder below `root` for files that are moved to their places once all are complete."""
    work = root / f'.unfinished-{os.getpid()}'
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def move_into(path: Path, folder: Path) -> Path:
    """Move a file, or a folder whose name is free, to `folder` in one step."""
    return path.replace(folder / path.name)


def converter_output(verbose: bool) -> contextlib.AbstractContextManager:
    """Send what converters print to standard output, or nowhere."""
    return contextlib.redirect_stdout(sys.stdout if verbose else io.StringIO())


@contextlib.contextmanager
def _opened(updater: ModuleType, version: str, root: Path):
    """Let the updater, which always opens ./data/nuscenes, open this dataset instead."""
    original = updater.NuScenes

    def here(**_):
        return original(version=version, dataroot=str(root), verbose=False)

    updater.NuScenes = here
    try:
        yield
    finally:
        updater.NuScenes = original
