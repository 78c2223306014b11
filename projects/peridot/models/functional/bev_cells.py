"""Cells of a bird's-eye view as sorted keys and means: what is occupied is kept, no map is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.models.functional.pooling import group_mean


class CellGrid(NamedTuple):
    """Cells on the ground, the same for all scans; rows run along y, columns along x.

    The key of a cell is `(scan * rows + row) * columns + column`.

    Attributes:
        lower: x, y of the lower corner in meters.
        cell: Size of a cell along x and y in meters.
        shape: Rows and columns.
    """

    lower: Sequence[float] | Tensor
    cell: Sequence[float] | Tensor
    shape: tuple[int, int]

    def place(self, xy: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows, float64 (N,) each, of places (N, 2) in meters; cell 0 reaches from 0 to 1."""
        column, row = ((xy[:, axis].double() - self.lower[axis]) / self.cell[axis] for axis in (0, 1))
        return column, row

    def scan(self, keys: Tensor) -> Tensor:
        """Scans Int64 (K,) of cells; -1 for key -1."""
        return keys.div(self.shape[0] * self.shape[1], rounding_mode='floor')

    def centers(self, keys: Tensor) -> Tensor:
        """Centers Float64 (K, 2) of cells, x, y in meters."""
        rows, columns = self.shape
        places = torch.stack([keys % columns, keys.div(columns, rounding_mode='floor') % rows]).double() + 0.5
        return torch.stack([place * self.cell[axis] + self.lower[axis] for axis, place in enumerate(places)], 1)

    def keys(self, row: Tensor, column: Tensor, scan: Tensor) -> Tensor:
        """Keys Int64 of cells, -1 beyond the grid and for scan -1; all of one shape, rows and columns whole numbers."""
        rows, columns = self.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) & (scan >= 0)
        return torch.where(inside, (scan * rows + row) * columns + column, -1).long()


def cell_keys(xy: Tensor, scan: Tensor, grid: CellGrid) -> Tensor:
    """Keys Int64 (N,) of the cells that places lie in, -1 beyond the grid.

    Args:
        xy: Float (N, 2), x, y in meters.
        scan: Int64 (N,), their scans.
        grid: The cells.
    """
    column, row = grid.place(xy)
    return grid.keys(row.floor(), column.floor(), scan)


def mean_of_cells(rows: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
    """Means of the rows of cells.

    Args:
        rows: Float (N, D).
        keys: Int64 (N,), their cells; those of -1 are left out.
        wanted: Int64 (K,), ascending, each cell once.

    Returns:
        Float32 (K, D), zero for cells without rows.
    """
    return group_mean(rows.float(), find_cells(wanted, keys), len(wanted))[0]


def find_cells(keys: Tensor, wanted: Tensor) -> Tensor:
    """Places of cells in a list of keys.

    Args:
        keys: Int64 (K,), ascending.
        wanted: Int64 of any shape; -1 is never found.

    Returns:
        Int64 of the same shape, -1 for cells that are not in the list.
    """
    if not len(keys):
        return torch.full_like(wanted, -1)
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where((wanted >= 0) & (keys[place] == wanted), place, -1)


def corner_cells(xy: Tensor, scan: Tensor, grid: CellGrid) -> tuple[Tensor, Tensor]:
    """The four cells whose centers surround a place, and their bilinear weights, computed in float64.

    Args:
        xy: Float (M, 2), x, y in meters.
        scan: Int64 (M,), scan of the cells; -1 for none.
        grid: The cells.

    Returns:
        Int64 (M, 4) keys, -1 beyond the grid, and Float32 (M, 4) weights, which are 0 there.
    """
    column, row = (place - 0.5 for place in grid.place(xy))
    left, top = column.floor(), row.floor()
    across, down = column - left, row - top
    keys = grid.keys(
        torch.stack([top, top, top + 1, top + 1], 1),
        torch.stack([left, left + 1, left, left + 1], 1),
        scan[:, None].expand(-1, 4),
    )
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], 1)
    return keys, torch.where(keys >= 0, weights, 0).float()


def near_cells(keys: Tensor, xy: Tensor, scan: Tensor, grid: CellGrid) -> Tensor:
    """Bool (M,), whether bilinear reading at a place meets any cell of a list.

    Args:
        keys: Int64 (K,), ascending.
        xy: Float (M, 2), x, y in meters.
        scan: Int64 (M,), scan that is read; -1 for none.
        grid: The cells.
    """
    corners, weights = corner_cells(xy, scan, grid)
    return ((find_cells(keys, corners) >= 0) & (weights > 0)).any(1)


def read_cells(keys: Tensor, means: Tensor, xy: Tensor, scan: Tensor, grid: CellGrid) -> Tensor:
    """Bilinear value at places, cells that are not in the list counting as zero.

    It equals `F.grid_sample(..., mode='bilinear', padding_mode='zeros', align_corners=False)` of the dense map.

    Args:
        keys: Int64 (K,), ascending.
        means: Float (K, D), values of these cells.
        xy: Float (M, 2), x, y in meters.
        scan: Int64 (M,), scan that is read; -1 for none.
        grid: The cells.

    Returns:
        (M, D).
    """
    if not len(keys):
        return means.new_zeros(len(xy), means.shape[1])
    corners, weights = corner_cells(xy, scan, grid)
    place = find_cells(keys, corners)
    weights = torch.where(place >= 0, weights, 0).to(means.dtype)
    return F.embedding_bag(place.clamp(min=0), means, mode='sum', per_sample_weights=weights)
