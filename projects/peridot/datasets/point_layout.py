"""Which numbers a point file holds, how many a point and of which type, told from their values."""

from __future__ import annotations

import numpy as np

# numbers looked at
_LOOKED_AT = 1 << 17
# fewer points say nothing
_ENOUGH = 1000
_COLUMNS = range(3, 9)
# no measurement is that large, or that small without being 0: half of a float64 read as float32 often is
_HUGE, _TINY = 1e19, 1e-18
# meters; float32 read as float64 gives such coordinates from 16 m on
_FAR = 2e7
_OTHER = {'float32': 'float64', 'float64': 'float32'}


def likely_layout(data: bytes, columns: int, dtype: str) -> tuple[int, str] | None:
    """Another layout of a point file, if its values speak for that one and against the assumed one.

    Columns differ in their distributions: signs, sizes, whole numbers. Read with a wrong number of columns, each column
    is a mixture. Where D columns are right, another number D' tells no more of a value than gcd(D, D') columns do, and
    so less than D: the assumed number is doubted where another one tells more than twice as much. A multiple of the
    right one tells hardly more, even where points alternate between two kinds.

    Args:
        data: Content of the file.
        columns: Assumed numbers per point.
        dtype: Their assumed type, 'float32' | 'float64'.

    Returns:
        Numbers per point and their type; None if nothing speaks against the assumed layout.
    """
    other = _values(data, _OTHER[dtype])
    values = _values(data, dtype)
    doubtful = _is_impossible(values) or (dtype == 'float64' and _is_far(values, columns))
    if doubtful and not _is_impossible(other):
        return _most_telling(other, len(data), columns, _OTHER[dtype]) or (columns, _OTHER[dtype])
    return _most_telling(values, len(data), columns, dtype)


def _values(data: bytes, dtype: str) -> np.ndarray:
    count = min(len(data) // np.dtype(dtype).itemsize, _LOOKED_AT)
    with np.errstate(invalid='ignore'):
        return np.frombuffer(data, dtype, count).astype(np.float64)


def _is_impossible(values: np.ndarray) -> bool:
    """Whether many finite values cannot be measurements."""
    size = np.abs(values[np.isfinite(values)])
    return len(size) > 0 and bool(((size > _HUGE) | ((size > 0) & (size < _TINY))).mean() > 0.05)


def _is_far(values: np.ndarray, columns: int) -> bool:
    """Whether many coordinates lie off the earth."""
    xyz = np.abs(values[: len(values) // columns * columns].reshape(-1, columns)[:, :3])
    return bool((xyz > _FAR).mean() > 0.02)


def _most_telling(values: np.ndarray, size: int, columns: int, dtype: str) -> tuple[int, str] | None:
    """Layout with the number of columns that tells more than twice as much of the values as the assumed one."""
    count = size // np.dtype(dtype).itemsize
    possible = [number for number in _COLUMNS if count % number == 0 and number != columns]
    if len(values) < _ENOUGH * columns or not possible:
        return None
    values = np.nan_to_num(values, posinf=0, neginf=0)
    assumed = _told(values, columns) if count % columns == 0 else 0.0
    told = {number: _told(values, number) for number in possible}
    most = max(told.values())
    if most <= max(2 * assumed, 0.05):
        return None
    # a multiple of the right number tells as much
    return min(number for number in told if told[number] > 0.9 * most), dtype


def _told(values: np.ndarray, columns: int) -> float:
    """Shares of the variance of a value's sign, size and wholeness that its column explains, summed."""
    table = values[: len(values) // columns * columns].reshape(-1, columns)
    told = 0.0
    for feature in (np.sign(table), np.log1p(np.abs(table)), table == np.floor(table)):
        variance = feature.var()
        told += feature.mean(0).var() / variance if variance > 0 else 0.0
    return float(told)
