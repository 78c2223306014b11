"""`timestamps.csv` and `poses.csv` of a recording."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from peridot.datasets.recordings.transforms import quaternion_rotations, rigid
from peridot.errors import DataError

TIMESTAMPS, POSES = 'timestamps.csv', 'poses.csv'
_POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
# larger numbers are milliseconds to nanoseconds, not seconds
_LATEST_SECOND = 1e11
# longest time in seconds between poses that are interpolated
MAX_GAP = 1.0


@dataclass(frozen=True)
class Poses:
    """Poses of the vehicle, ordered by time.

    Attributes:
        times: Float64 (T,), seconds.
        places: Float64 (T, 3), meters.
        turns: T rotations, ego to world.
    """

    times: np.ndarray
    places: np.ndarray
    turns: Rotation

    def cover(self, times: np.ndarray) -> np.ndarray:
        """Whether times (N,) lie between poses that are at most a second apart."""
        later = np.searchsorted(self.times, times).clip(1, max(len(self.times) - 1, 1))
        if len(self.times) < 2:
            return times == self.times[0]
        first, last = self.times[later - 1], self.times[later]
        return (first <= times) & (times <= last) & ((last - first <= MAX_GAP) | (times == first) | (times == last))

    def at(self, times: np.ndarray) -> np.ndarray:
        """Ego to world at covered times (N,): float64 (N, 4, 4), interpolated."""
        if len(self.times) < 2:
            return np.repeat(rigid(self.turns.as_matrix(), self.places), len(times), 0)
        places = np.stack([np.interp(times, self.times, axis) for axis in self.places.T], 1)
        return rigid(Slerp(self.times, self.turns)(times).as_matrix(), places)


def read_timestamps(path: Path) -> dict[str, float]:
    """Seconds by file, relative to the recording; empty without `timestamps.csv`.

    Raises:
        DataError: Columns are missing, a time is not a number of seconds, or a file or a sensor's time stands twice.
    """
    if not path.is_file():
        return {}
    rows = _read_rows(path, ('file', 'time'), 'file (e.g. points/000000.bin) and time in seconds')
    times = dict(zip(_names(path, rows, 'file'), _column(path, rows, 'time')))
    seen: dict[tuple[str, float], str] = {}
    for file, time in times.items():
        _check_seconds(path, time)
        first = seen.setdefault((file.rpartition('/')[0], time), file)
        if first != file:
            raise DataError(f'{path}: {first} and {file} have the same time {time!r}: correct one, or remove its file')
    return times


def read_poses(path: Path, scan_times: Mapping[str, float]) -> Poses | dict[str, np.ndarray] | None:
    """Poses of the vehicle; None without `poses.csv`.

    Args:
        path: The file; its poses are named by time, or by scan (the file's name without suffix).
        scan_times: Seconds by the name of a scan, if they are known.

    Returns:
        The poses by time, or ego to world (4, 4) by scan where the times of the scans are not known.

    Raises:
        DataError: Columns are missing or hold something else, or poses are by time, but scans have none.
    """
    if not path.is_file():
        return None
    rows = _read_rows(path, _POSE, 'time (or name), x, y, z, qx, qy, qz, qw')
    by_name = rows and 'name' in rows[0]
    if not rows or not ('time' in rows[0] or by_name):
        raise DataError(f'{path} has no column time or name: write time (or name), x, y, z, qx, qy, qz, qw')
    values = np.stack([_column(path, rows, name) for name in _POSE], 1)
    places, turns = values[:, :3], quaternion_rotations(values[:, 3:], str(path))
    if by_name:
        names = _names(path, rows, 'name')
        if not scan_times:
            return dict(zip(names, rigid(turns.as_matrix(), places)))
        unknown = [name for name in names if name not in scan_times]
        if unknown:
            raise DataError(f'{path}: {unknown[0]} is not a scan with a time in {TIMESTAMPS}: correct the name')
        times = np.array([scan_times[name] for name in names])
    else:
        times = _column(path, rows, 'time')
        _check_seconds(path, times.max())
        if not scan_times:
            raise DataError(f'{path} has poses by time, but the scans have no times: write {TIMESTAMPS}')
    order = np.argsort(times, kind='stable')
    twice = np.flatnonzero(np.diff(times[order]) == 0)
    if len(twice):
        raise DataError(f'{path} has two poses of the time {float(times[order][twice[0]])!r}: remove one')
    return Poses(times[order], places[order], turns[order])


def _read_rows(path: Path, columns: Sequence[str], wanted: str) -> list[dict[str, str]]:
    try:
        # Excel begins UTF-8 with a mark
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            found, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f'{path} cannot be read ({error}): write a table with the columns {wanted}') from None
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(f'{path} has no column {missing[0]} (it has {", ".join(found) or "none"}): write {wanted}')
    return rows


def _names(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    """The column's values, each of which may stand once only."""
    first: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if not row[column]:
            raise DataError(f'{path}, row {number} has no {column}: correct or remove the row')
        if first.setdefault(row[column], number) != number:
            raise DataError(f'{path}, rows {first[row[column]]} and {number}: {row[column]} stands twice: remove one')
    return list(first)


def _column(path: Path, rows: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
    values = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            values[number] = float(row[name])
        except (TypeError, ValueError):
            values[number] = np.nan
        if not np.isfinite(values[number]):
            raise DataError(
                f'{path}, row {number + 1}: {name}={row[name]!r} is not a number: correct or remove the row'
            )
    return values


def _check_seconds(path: Path, time: float) -> None:
    if abs(time) > _LATEST_SECOND:
        unit = next(name for name, size in (('milli', 1e14), ('micro', 1e17), ('nano', np.inf)) if abs(time) < size)
        raise DataError(f'{path} has the time {time:.0f}, which seems to be in {unit}seconds: write seconds')
