"""mmdet3d's info files (v2) and object databases, made by mmdet3d's own converters; here those of nuScenes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pickle
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import TYPE_CHECKING

from mmengine.fileio import load
from mmengine.registry import DefaultScope

from peridot.catalog import CATALOG, CatalogEntry, create_command, lookup
from peridot.catalog.nuscenes import NUSCENES, VERSIONS
from peridot.datasets.missing import check_missing, first, report, warn
from peridot.datasets.nuscenes_part import Part, keep_present, report_absent
from peridot.datasets.point_layout import likely_layout
from peridot.errors import ConfigError, DataError
from peridot.files import write_bytes

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

# of a sample's info: what its objects are cut out with
_OF_OBJECTS = ('token', 'sample_idx', 'lidar_points', 'lidar_sweeps', 'instances')


def create_nuscenes_infos(
    root: str | os.PathLike,
    version: str = 'v1.0-trainval',
    max_sweeps: int = 10,
    missing: str = 'skip',
    verbose: bool = False,
) -> list[Path]:
    """Write `nuscenes_infos_{train,val}.pkl` (or `_test`) into the dataset's folder, in mmdet3d's v2 format.

    Scenes that lack key frames of the lidar are left out, as are single images and sweeps that are absent; a split
    without scenes gets no file. Samples whose label file of nuScenes-lidarseg is there have `pts_semantic_mask_path`.

    Args:
        root: Folder with `samples/`, `sweeps/` and the tables' folder.
        version: 'v1.0-mini' | 'v1.0-trainval' | 'v1.0-test'.
        max_sweeps: Earlier sweeps listed for each sample.
        missing: 'skip' counts what is absent in a line each, 'error' stops.
        verbose: Show the output of the converter.

    Returns:
        The files.

    Raises:
        ConfigError: Unknown version or `missing`, or mmdet3d came without its tools.
        DataError: Folders or tables are missing, damaged or of several versions, or no scene is complete.
    """
    root = Path(root).resolve()
    check_missing(missing)
    if version not in VERSIONS:
        raise ConfigError(f'version {version!r}: nuScenes has {", ".join(VERSIONS)}')
    _check_folders(root, version)
    check_writable(root)
    converter, updater = load_converter('nuscenes_converter'), load_converter('update_infos_to_v2')
    try:
        part = Part(root, version, missing)
        # before the hours of the converter
        report_absent(part, max_sweeps)
        # the converter works in several passes over its own files: under final names an interruption would leave halves
        with unfinished_folder(root) as work:
            with _opened(updater, part.tables), converter_output(verbose):
                paths = _convert(converter, updater, work, version, max_sweeps)
            for path in paths:
                content = load(path)
                absent = keep_present(content['data_list'], part)
                content['metainfo'].update({'missing_sweeps': absent} if absent else {})
                write_infos(content, path)
            return move_infos(paths, root, NUSCENES, VERSIONS[version])
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f'the tables in {root / version} do not fit together ({type(error).__name__}: {error}): unpack all of them '
            f'again, from one archive of nuScenes {version}'
        ) from error


def _check_folders(root: Path, version: str) -> None:
    remedy = f'unpack nuScenes {version} into {root}, or name its folder with --root'
    others = [name for name in VERSIONS if (root / name).is_dir()]
    if others and version not in others:
        there = f'but {others[0]} is there: add --version {others[0]}'
        raise DataError(f'{root / version} is missing, {there}, or {remedy}')
    for folder in (root / 'samples' / 'LIDAR_TOP', root / version):
        if not folder.is_dir():
            raise DataError(f'{folder} is missing: {remedy}')


def _convert(converter: ModuleType, updater: ModuleType, work: Path, version: str, max_sweeps: int) -> list[Path]:
    """Info files of version 2 of the splits that have samples."""
    for name in ('v1', 'v2'):
        (work / name).mkdir()
    converter.create_nuscenes_infos(str(work), 'v1/nuscenes', version, max_sweeps)
    for split in VERSIONS[version]:
        source = work / 'v1' / f'nuscenes_infos_{split}.pkl'
        # the updater fails on an empty list
        if load(source)['infos']:
            updater.update_nuscenes_infos(str(source), f'{work}/v2')
    return sorted((work / 'v2').iterdir())


def create_gt_database(
    root: str | os.PathLike, dataset: str, missing: str = 'skip', verbose: bool = False
) -> Path | None:
    """Cut the objects out of the training scans, for mmdet3d's `ObjectSample`.

    Writes `{dataset}_gt_database/` and `{dataset}_dbinfos_train.pkl` into the dataset's folder. nuScenes' objects
    gather the points of ten sweeps, as mmdet3d's configs need them.

    Args:
        root: Folder with `{dataset}_infos_train.pkl`.
        dataset: One whose catalog entry has `detection`: 'nuscenes' | 'kitti'.
        missing: 'skip' makes none and says so if sweeps are absent, 'error' raises.
        verbose: Show the output of the converter.

    Returns:
        The `.pkl` file; None if sweeps are absent.

    Raises:
        ConfigError: No such database exists for the dataset, or mmdet3d came without its tools.
        DataError: The info file or a file that it names is missing.
    """
    root = Path(root).resolve()
    entry = lookup(dataset)
    if entry.detection is None:
        known = ', '.join(name for name, other in CATALOG.items() if other.detection)
        raise ConfigError(f'dataset {dataset!r}: object databases exist for {known}')
    infos = root / entry.info_file('train')
    if not infos.is_file():
        raise DataError(f'{infos} is missing: make it with `{create_command(root, dataset)}`')
    check_writable(root)
    content = load(infos)
    if content['metainfo'].get('missing_sweeps'):
        remove_gt_database(root, dataset)
        line = f'{dataset}_gt_database gathers the points of sweeps, of which some are absent'
        report(line, f'unpack the archives with sweeps over {root} and run the command again', missing)
        return None
    kind = entry.detection['type'].removeprefix('mmdet3d.')
    create = load_converter('create_gt_database').create_groundtruth_database
    names = _database_of(dataset)
    with unfinished_folder(root) as work, converter_output(verbose), DefaultScope.overwrite_default_scope('mmdet3d'):
        database, db_infos = (str(work / name) for name in names)
        try:
            for info in content['data_list'][:1]:
                path = root / entry.detection['data_prefix']['pts'] / info['lidar_points']['lidar_path']
                check_layout(path, entry, f'unpack {dataset} again')
            create(kind, f'{root}/', dataset, infos.name, None, None, database, db_infos)
        except FileNotFoundError as error:
            raise DataError(
                f'{error.filename} is missing, which {infos} names: unpack it again, and run '
                f'`{create_command(root, dataset)}` again'
            ) from None
        return [move_into(work / name, root) for name in names][-1]


def check_writable(root: Path) -> None:
    """Raise a DataError if nothing can be written into a folder, before the work begins."""
    if not os.access(root, os.W_OK):
        raise DataError(f'{root} cannot be written to: give a folder for the files with --out')


def check_layout(cloud: Path, entry: CatalogEntry, remedy: str) -> None:
    """Raise a DataError if the values of a cloud speak for other columns than the dataset's, or another type."""
    layout = likely_layout(cloud.read_bytes(), len(entry.columns), 'float32')
    if layout:
        raise DataError(
            f'{cloud} looks like {layout[0]} {layout[1]} a point, not like float32 {", ".join(entry.columns)}: '
            f'{remedy}, or write all clouds so'
        )


def write_splits(folder: Path, entry: CatalogEntry, splits: Mapping[str, list[dict]], **meta) -> list[Path]:
    """Write the info files of splits that have samples, in mmdet3d's v2 format, with further metainfo; returns them.

    Those that an earlier run has written of the other splits are removed.
    """
    paths = []
    for split, samples in splits.items():
        if samples:
            metainfo = {'dataset': entry.name, 'info_version': '1.1', 'split': split, **meta}
            paths.append(write_infos({'metainfo': metainfo, 'data_list': samples}, folder / entry.info_file(split)))
    remove_stale(folder, entry, splits, paths)
    return paths


def remove_stale(folder: Path, entry: CatalogEntry, splits: Iterable[str], written: Sequence[Path]) -> None:
    """Remove info files that an earlier run has written of splits, and this one has not: they have no samples now."""
    for path in (folder / entry.info_file(split) for split in splits):
        if path not in written:
            path.unlink(missing_ok=True)


def move_infos(paths: Sequence[Path], root: Path, entry: CatalogEntry, splits: Collection[str]) -> list[Path]:
    """Move finished info files to the dataset's folder; what an earlier run has made there goes if it fits no more.

    Args:
        paths: Info files of splits that have samples.
        root: Folder of the dataset.
        entry: Its entry.
        splits: All that this run has looked at.

    Returns:
        The files in their places.
    """
    old = root / entry.info_file('train')
    new = [path for path in paths if path.name == old.name]
    has_database = bool(_database_in(root, entry.name))
    if has_database and 'train' in splits and old.is_file() and [_digest(old)] != [_digest(path) for path in new]:
        remove_gt_database(root, entry.name)
    moved = [move_into(path, root) for path in paths]
    remove_stale(root, entry, splits, moved)
    return moved


def _digest(path: Path) -> str:
    """Hash of what objects are cut out with: clouds and boxes of the samples of an info file."""
    try:
        samples = [[info.get(key) for key in _OF_OBJECTS] for info in load(path)['data_list']]
    except Exception:  # a file of an earlier run may be damaged, or of another program
        return ''
    return hashlib.sha256(pickle.dumps(samples)).hexdigest()


def remove_gt_database(root: Path, dataset: str) -> None:
    """Remove the objects that were cut out with other info files, and say so."""
    found = _database_in(root, dataset)
    for path in found[::-1]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if found:
        warn(f'{found[0]} is removed: its objects are those of other info files')


def _database_of(dataset: str) -> tuple[str, str]:
    """Names of the folder of objects and of its list."""
    return f'{dataset}_gt_database', f'{dataset}_dbinfos_train.pkl'


def _database_in(root: Path, dataset: str) -> list[Path]:
    return [path for path in (root / name for name in _database_of(dataset)) if os.path.lexists(path)]


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
    leftovers = sorted(path.name for path in root.glob('.unfinished-*'))
    if leftovers:
        warn(f'{root} holds {first(leftovers)} of runs that were killed or still go on: remove them once none goes on')
    # numbers of processes occur again in containers
    work = Path(mkdtemp(prefix='.unfinished-', dir=root))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_infos(content: dict | list, path: Path) -> Path:
    """Write an info file in one step."""
    write_bytes(path, pickle.dumps(content))
    return path


def move_into(path: Path, folder: Path) -> Path:
    """Move a file or a folder out of an unfinished folder, in place of what has its name, which may be a link."""
    target = folder / path.name
    if path.is_dir() and os.path.lexists(target):
        # a folder replaces nothing but an empty folder; the old one goes with the unfinished folder
        target.rename(path.with_name(f'old-{path.name}'))
    return path.replace(target)


def converter_output(verbose: bool) -> contextlib.AbstractContextManager:
    """Send what converters print to standard output, or nowhere."""
    return contextlib.redirect_stdout(sys.stdout if verbose else io.StringIO())


@contextlib.contextmanager
def _opened(updater: ModuleType, tables: NuScenes) -> Iterator[None]:
    """Let the converter and the updater, which would open the whole dataset and ./data/nuscenes, take these tables."""
    import nuscenes.nuscenes

    originals = [(module, module.NuScenes) for module in (nuscenes.nuscenes, updater)]
    for module, _ in originals:
        module.NuScenes = lambda **_: tables
    try:
        yield
    finally:
        for module, original in originals:
            module.NuScenes = original
