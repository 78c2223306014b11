"""Maps as runs of equal values along their rows: quick to write, and to read at some of the rows.

A file has a header (mark, bytes per value, height, width, number of runs) and zlib-compressed content: the number of
runs of every row (16 bits), the length of every run (8 bits), the value of every run (8 or 16 bits). A row without runs
is the one above it. Numbers of 16 bits are stored as all low bytes, then all high bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_MARK = b'RUNS'
_HEADER = struct.Struct('<4sBIII')
# longer runs are split, as bytes are read without any work
_LONGEST = 255
# a row may have as many runs as pixels
WIDEST = 65535


@dataclass
class RunMap:
    """A map (H, W) that is indexed by (rows, columns) like an array, and expands the rows that are asked for alone.

    Attributes:
        shape: (H, W).
        values: (R,), value of every run, row by row.
        lengths: Uint8 (R,), pixels of every run.
        counts: Int64 (D,), runs of every row that differs from the one above it.
        stored: Int64 (H,), which of those D rows each row is.
    """

    shape: tuple[int, int]
    values: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    stored: np.ndarray

    def __getitem__(self, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Values at the positions (rows, columns), two integer arrays whose shapes are broadcast."""
        rows, columns = at
        asked = self.stored[rows]
        needed = np.zeros(len(self.counts), bool)
        needed[asked] = True
        runs = np.repeat(needed, self.counts)
        pixels = self._expand(self.values[runs], self.lengths[runs])
        return pixels[(np.cumsum(needed) - 1)[asked], columns]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """The whole map (H, W), for `np.asarray`."""
        pixels = self._expand(self.values, self.lengths)
        pixels = pixels if len(pixels) == self.shape[0] else pixels[self.stored]
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> RunMap:
        """The map with `function` applied to the values, which it takes and gives as (R,)."""
        return replace(self, values=function(self.values))

    def _expand(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.repeat(values, lengths).reshape(-1, self.shape[1])


def encode_runs(array: np.ndarray) -> bytes:
    """Content of the file of a map.

    Args:
        array: Uint8 or uint16 (H, W), not empty.

    Raises:
        ValueError: The map is wider than 65535 pixels.
    """
    height, width = array.shape
    if width > WIDEST:
        raise ValueError(f'a map of runs is at most {WIDEST} pixels wide, not {width}')
    differs = np.ones(height, bool)
    differs[1:] = (array[1:] != array[:-1]).any(1)
    counts = np.zeros(height, np.uint16)
    values, lengths, counts[differs] = _runs(array[differs])
    itemsize = 1 if values.max() <= 255 else 2
    content = _bytes(counts, 2) + _bytes(lengths, 1) + _bytes(values, itemsize)
    return _HEADER.pack(_MARK, itemsize, height, width, len(values)) + zlib.compress(content)


def decode_runs(data: bytes) -> RunMap:
    """Map of the content of its file, with values of 8 bits where they fit.

    Raises:
        ValueError: It is not the content of such a file, damaged or truncated.
    """
    if len(data) < _HEADER.size or not data.startswith(_MARK):
        raise ValueError('not a map of runs')
    _, itemsize, height, width, total = _HEADER.unpack_from(data)
    if itemsize not in (1, 2) or not height * width * total:
        raise ValueError('damaged header')
    ends = np.cumsum([2 * height, total, itemsize * total])
    content = memoryview(_decompress(data, int(ends[-1])))
    counts, lengths = _numbers(content[: ends[0]], 2), _numbers(content[ends[0] : ends[1]], 1)
    values = _numbers(content[ends[1] :], itemsize)
    stored = np.cumsum(counts > 0) - 1
    counts = counts[counts > 0].astype(np.int64)
    # then every pixel has a value, and no run reaches over the end of a row
    complete = stored[0] == 0 and counts.sum() == total
    if not complete or (np.add.reduceat(lengths, np.cumsum(counts) - counts, dtype=np.int64) != width).any():
        raise ValueError('damaged')
    return RunMap((height, width), values, lengths, counts, stored)


def _runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (R,) and lengths (R,) of the runs of rows (D, W), and how many each row has (D,)."""
    begins = np.ones(rows.shape, bool)
    begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=rows.size)
    pieces = -(-lengths // _LONGEST)
    split = np.full(pieces.sum(), _LONGEST, np.uint8)
    split[np.cumsum(pieces) - 1] = lengths - _LONGEST * (pieces - 1)
    row = np.repeat(starts // rows.shape[1], pieces)
    return np.repeat(rows.ravel()[starts], pieces), split, np.bincount(row, minlength=len(rows))


def _decompress(data: bytes, size: int) -> bytes:
    """The content behind a header, of a known size, so that a damaged file cannot fill the memory."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(memoryview(data)[_HEADER.size :], size)
    except (zlib.error, OverflowError):
        raise ValueError('damaged') from None
    if len(content) != size or not stream.eof:
        raise ValueError('truncated or damaged')
    return content


def _bytes(numbers: np.ndarray, itemsize: int) -> bytes:
    """All low bytes of numbers, then all high ones: neighbors are equal more often, and compress better."""
    return b''.join((numbers >> 8 * place & 255).astype(np.uint8).tobytes() for place in range(itemsize))


def _numbers(data: memoryview, itemsize: int) -> np.ndarray:
    """The inverse of `_bytes`."""
    low, *high = np.frombuffer(data, np.uint8).reshape(itemsize, -1)
    return high[0].astype(np.uint16) << 8 | low if high else low
