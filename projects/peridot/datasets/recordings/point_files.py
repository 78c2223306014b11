"""Points and their labels from files: .bin, .npy, .pcd and .ply; .label and .npy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from peridot.datasets.recordings.calibration import PointFormat
from peridot.errors import DataError
from peridot.optional import import_package

# of a point in files that peridot.LoadPoints reads: x, y, z in meters, intensity from 0 to 1
COLUMNS = 4
_RECORD = 'record or export it again, or remove it'


def read_points(path: Path, form: PointFormat) -> np.ndarray:
    """Points of a file: float32 (N, 4), x, y, z in meters and intensity, 0 to 1 in its declared range (0 without).

    Nothing is unpickled. Values that are not finite stay.

    Raises:
        DataError: The file is missing, damaged or empty, or lacks a column.
        ConfigError: A package that reads the file is not installed.
    """
    fields = _READERS[path.suffix.lower()](path, form)
    wanted = ['x', 'y', 'z', *([form.intensity] if form.intensity else [])]
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise DataError(
            f'{path} has no column {missing[0]} (it has {", ".join(fields)}): name its columns in '
            'calibration.json (lidar.columns, lidar.intensity)'
        )
    strange = [name for name in wanted if fields[name].dtype.kind not in 'fiu' or fields[name].ndim != 1]
    if strange:
        column = fields[strange[0]]
        raise DataError(
            f'{path}: the column {strange[0]} holds {column.dtype} {column.shape}: store one number a point'
        )
    points = np.zeros((len(fields['x']), COLUMNS), np.float32)
    if not len(points):
        raise DataError(f'{path} holds no point: {_RECORD}')
    for axis, name in enumerate('xyz'):
        points[:, axis] = fields[name] if form.unit == 1 else np.multiply(fields[name], form.unit, dtype=np.float64)
    if form.intensity:
        low, high = form.intensity_range
        points[:, 3] = (fields[form.intensity] - np.float64(low)) / (high - low)
    return points


def keeps_bytes(path: Path, form: PointFormat) -> bool:
    """Whether peridot.LoadPoints can read the file itself as `read_points` does."""
    plain = form.columns == ('x', 'y', 'z', 'intensity') and form.intensity == 'intensity' and form.unit == 1
    types = {form.row[name] for name in form.columns}
    return path.suffix.lower() == '.bin' and plain and types == {np.dtype('<f4')} and form.intensity_range == (0, 1)


def read_labels(path: Path, count: int) -> np.ndarray:
    """Labels of the points of a scan: uint32 (count,), with the class in the lower 16 bits.

    A .label file has one, two or four bytes a point; an .npy file integers.

    Raises:
        DataError: The file is missing or damaged, or has not one label for each point.
    """
    if path.suffix.lower() == '.npy':
        labels = _load_array(path)
        labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
        whole = labels.dtype.kind in 'iu' and labels.ndim == 1 and (not len(labels) or labels.min() >= 0)
        if not whole or labels.max(initial=0) > np.iinfo(np.uint32).max:
            raise DataError(f'{path} holds {labels.dtype} {labels.shape}: write an array of one integer for each point')
        labels = labels.astype(np.uint32)
    else:
        data = _read_bytes(path)
        width = len(data) // max(count, 1)
        types = {1: np.uint8, 2: np.uint16, 4: np.uint32}
        fits = width in types and len(data) == width * count
        labels = np.frombuffer(data, types[width]).astype(np.uint32) if fits else np.frombuffer(data, np.uint8)
    if len(labels) != count:
        what = 'labels' if path.suffix.lower() == '.npy' else 'bytes'
        raise DataError(f'{path} has {len(labels)} {what}, but the scan has {count} points: write one label for each')
    return labels


def _read_bin(path: Path, form: PointFormat) -> Mapping[str, np.ndarray]:
    data = _read_bytes(path)
    if len(data) % form.row.itemsize:
        raise DataError(
            f'{path} has {len(data)} bytes, no multiple of {form.row.itemsize} ({len(form.columns)} columns): it is '
            'cut off, or calibration.json declares other columns or types (lidar.columns, lidar.dtype)'
        )
    return _by_name(np.frombuffer(data, form.row))


def _read_npy(path: Path, form: PointFormat) -> Mapping[str, np.ndarray]:
    table = _load_array(path)
    if table.dtype.names:
        return _by_name(table.ravel())
    if table.dtype.kind not in 'fiu' or table.ndim != 2 or table.shape[1] != len(form.columns):
        raise DataError(
            f'{path} holds {table.dtype} {table.shape}, but calibration.json declares {len(form.columns)} columns: '
            'write an array of numbers (points, columns), or correct lidar.columns'
        )
    return dict(zip(form.columns, table.T))


def _read_pcd(path: Path, form: PointFormat) -> Mapping[str, np.ndarray]:
    pypcd4 = import_package('pypcd4', 'reading .pcd files')
    cloud = _opened(path, pypcd4.PointCloud.from_path)
    table, count = np.atleast_1d(cloud.pc_data), cloud.metadata.points
    if len(table) != count:
        raise DataError(f'{path} is cut off ({len(table)} of {count} points): {_RECORD}')
    return _by_name(table)


def _read_ply(path: Path, form: PointFormat) -> Mapping[str, np.ndarray]:
    plyfile = import_package('plyfile', 'reading .ply files')
    return _by_name(np.asarray(_opened(path, lambda name: plyfile.PlyData.read(name, mmap=False)['vertex'].data)))


_READERS: dict[str, Callable[[Path, PointFormat], Mapping[str, np.ndarray]]] = {
    '.bin': _read_bin,
    '.npy': _read_npy,
    '.pcd': _read_pcd,
    '.ply': _read_ply,
}
POINT_SUFFIXES, LABEL_SUFFIXES = tuple(_READERS), ('.label', '.npy')


def _load_array(path: Path) -> np.ndarray:
    array = _opened(path, lambda name: np.load(name, allow_pickle=False))
    if not isinstance(array, np.ndarray):
        raise DataError(f'{path} holds no array: save one with numpy.save')
    return array


def _opened(path: Path, read: Callable):
    try:
        return read(str(path))
    except FileNotFoundError:
        raise DataError(f'{path} is missing: {_RECORD}') from None
    except Exception as error:  # a damaged file may fail anywhere in the library
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f'{path} cannot be read ({reason}): {_RECORD}') from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error.strerror}): {_RECORD}') from None


def _by_name(table: np.ndarray) -> dict[str, np.ndarray]:
    return {name: table[name] for name in table.dtype.names}
