"""Tokens in the cells of planes: assignment to cells, means over cells, and reading cells at tokens."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from peridot.models.functional.counting import histogram

# a plane keeps two axes: z is dropped first, then y, then x
PLANE_AXES = ((0, 1), (0, 2), (1, 2))


class Plane(NamedTuple):
    """A 2D grid for each scan of a batch.

    Attributes:
        cell: Int64 (M,), cell of every token, counted over scans, rows and columns.
        weight: Float32 (M,), weight of the token in the mean of its cell.
        shape: Scans, rows, columns.
    """

    cell: Tensor
    weight: Tensor
    shape: tuple[int, int, int]


def make_plane(cell: Tensor, shape: tuple[int, int, int]) -> Plane:
    """A plane from the cells (M,) of its tokens, each with one over the number of tokens in its cell."""
    counts = histogram(cell, math.prod(shape))
    return Plane(cell, counts[cell].float().reciprocal(), shape)


def project_to_planes(
    coords: Tensor, scans: int, point_cloud_range: list[float], grid_size: list[int], whole: bool = False
) -> list[Plane]:
    """Planes (x, y), (x, z) and (y, z) of a batch.

    The cells between the outermost tokens of a scan, and one beyond, give the same as the whole grid after two
    3x3 convolutions, which are read at the tokens: empty cells further out have no effect. So each scan gets its own
    window of the grid; the points that one camera sees fill a fraction of it.

    Args:
        coords: Float (M, 4), scan index, x, y, z in meters.
        scans: Number of scans.
        point_cloud_range: Lower and upper bounds of x, y, z in meters; tokens beyond them count for the outermost cell.
        grid_size: Number of cells along x, y and z.
        whole: Keep the whole grid.
    """
    low, high = coords.new_tensor(point_cloud_range).view(2, 3)
    grid = torch.tensor(grid_size, device=coords.device)
    cells = ((coords[:, 1:] - low) / ((high - low) / grid)).long().clamp(min=0).minimum(grid - 1)
    scan = coords[:, 0].long()
    if whole:
        sizes = list(grid_size)
    else:
        cells, sizes = _windows(cells, scan, scans, grid)
    planes = []
    for a, b in PLANE_AXES:
        cell = (scan * sizes[a] + cells[:, a]) * sizes[b] + cells[:, b]
        planes.append(make_plane(cell, (scans, sizes[a], sizes[b])))
    return planes


def _windows(cells: Tensor, scan: Tensor, scans: int, grid: Tensor) -> tuple[Tensor, list[int]]:
    """Cells (M, 3) in the window of their scan, and the sizes of the windows."""
    index = scan[:, None].expand(-1, 3)
    first = grid.expand(scans, 3).scatter_reduce(0, index, cells, 'amin')
    last = torch.zeros_like(first).scatter_reduce(0, index, cells, 'amax')
    size = torch.minimum((last - first).amax(0) + 3, grid)
    start = torch.minimum((first - 1).clamp(min=0), grid - size)
    return cells - start[scan], size.tolist()


def cell_means(tokens: Tensor, plane: Plane) -> Tensor:
    """Means over cells (scans, C, rows, columns) of tokens (M, C), channels last in memory; zero in empty cells.

    Sums are float32, and tokens are weighted before they are added: neither 16-bit counts nor overflow.
    """
    scans, rows, columns = plane.shape
    sums = torch.zeros(scans * rows * columns, tokens.shape[1], device=tokens.device)
    means = sums.index_add(0, plane.cell, tokens.float() * plane.weight[:, None])
    return means.view(scans, rows, columns, -1).permute(0, 3, 1, 2)


def read_cells(cells: Tensor, plane: Plane) -> Tensor:
    """Values (M, C), in float32, of the tokens' cells from maps (scans, C, rows, columns)."""
    # float32 before reading, so that gradients of a cell's tokens are added in float32
    return cells.float().permute(0, 2, 3, 1).flatten(0, 2).index_select(0, plane.cell)
