"""mmdet3d's info files (v2) for nuScenes, made by mmdet3d's own converter."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path
from types import ModuleType

from peridot.errors import ConfigError, DataError

SPLITS = {'v1.0-mini': ('train', 'val'), 'v1.0-trainval': ('train', 'val'), 'v1.0-test': ('test',)}
_TABLES = ('category', 'attribute', 'visibility', 'instance', 'sensor', 'calibrated_sensor', 'ego_pose', 'log')
_TABLES += ('scene', 'sample', 'sample_data', 'map')


def create_nuscenes_infos(
    root: str | os.PathLike, version: str = 'v1.0-trainval', max_sweeps: int = 10, verbose: bool = False
) -> list[Path]:
    """Write `nuscenes_infos_{train,val}.pkl` (or `_test`) into the dataset's folder, in mmdet3d's v2 format.

    Where nuScenes-lidarseg is unpacked there, the infos carry `pts_semantic_mask_path`.

    Args:
        root: folder with `samples/`, `sweeps/` and the tables' folder.
        version: 'v1.0-mini' | 'v1.0-trainval' | 'v1.0-test'.
        max_sweeps: earlier sweeps listed for each sample.
        verbose: let the converter talk.

    Returns:
        The files.

    Raises:
        ConfigError: unknown version, or mmdet3d came without its tools.
        DataError: folders or tables are missing.
    """
    root = Path(root).resolve()
    _check(root, version)
    converter, updater = _converter('nuscenes_converter'), _converter('update_infos_to_v2')
    paths = []
    # the converter works in several passes over its own files: under final names an interruption would leave halves
    prefix = f'.unfinished-{os.getpid()}'
    try:
        with _opened(updater, version, root), contextlib.redirect_stdout(sys.stdout if verbose else io.StringIO()):
            converter.create_nuscenes_infos(str(root), prefix, version, max_sweeps)
            for split in SPLITS[version]:
                unfinished = root / f'{prefix}_infos_{split}.pkl'
                updater.update_nuscenes_infos(str(unfinished), str(root))
                paths.append((unfinished, root / f'nuscenes_infos_{split}.pkl'))
        for unfinished, final in paths:
            os.replace(unfinished, final)
    finally:
        for leftover in root.glob(f'{prefix}_infos_*.pkl'):
            leftover.unlink()
    return [final for _, final in paths]


def _check(root: Path, version: str) -> None:
    if version not in SPLITS:
        raise ConfigError(f'version {version!r}: nuScenes has {", ".join(SPLITS)}')
    wanted = [root / 'samples' / 'LIDAR_TOP', root / version]
    names = _TABLES if version == 'v1.0-test' else (*_TABLES, 'sample_annotation')
    wanted += [root / version / f'{name}.json' for name in names]
    for path in wanted:
        if not path.exists():
            raise DataError(f'{path} is missing: unpack nuScenes {version} into {root}, or name its folder with --root')


def _converter(name: str) -> ModuleType:
    """A module of the dataset converters that mmdet3d installs beside its package."""
    import mmdet3d

    package = Path(mmdet3d.__file__).parent
    folders = [package / '.mim', package.parent]  # a wheel, or a clone installed in place
    for folder in folders:
        if (folder / 'tools' / 'dataset_converters' / f'{name}.py').is_file():
            break
    else:
        raise ConfigError(f'{package}/.mim/tools is missing: install mmdet3d from its wheel or with pip install -e')
    sys.path.insert(0, str(folder / 'tools' / 'dataset_converters'))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


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
