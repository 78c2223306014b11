"""Pairs of queries and supports within a radius: exact, in pure tensors, the same code on every device."""

from math import ceil, inf

import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.models.functional.counting import histogram

# width of the strips along y and z, in radii
STRIP = (0.5, 1.0)
# candidates are examined in blocks of consecutive sorted supports, without an index for each of them
SHIFT = 6
BLOCK = 1 << SHIFT
# blocks that are examined together: on a CPU they stay in its cache
CHUNK = {'cpu': 1 << 9, 'cuda': 1 << 17}
# relative margin around r^2 in which double precision decides; single precision errs by at most 3e-7
MARGIN = 1e-6


@torch.no_grad()
def pairs_in_radius(
    query: Tensor, query_scan: Tensor, support: Tensor, support_scan: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """All pairs of a query q and a support s of the same scan with `|q - s| < r`.

    Supports are sorted by scan, strip along z, strip along y, and x. The ball around a query touches few strips; in
    each of them its candidates are one run, which two binary searches find.

    Args:
        query: Float (M, 3), finite, in meters.
        query_scan: Int64 (M,), scan of every query.
        support: Float (S, 3), finite, in meters.
        support_scan: Int64 (S,), scan of every support.
        radius: r in meters.

    Returns:
        Int64 rows (P,) of the queries and (P,) of the supports. All pairs of a query come together.
    """
    if not len(query) or not len(support):
        return query_scan.new_zeros(0), query_scan.new_zeros(0)
    first, count, order = _runs(query, query_scan, support, support_scan, radius)
    # after the last support follow places that are near nothing
    axes = F.pad(support[order].float().T, (0, BLOCK), value=inf).contiguous()
    windows = axes.as_strided((len(order) + 1, 3, BLOCK), (1, axes.shape[1], 1))
    candidates = int(count.sum())
    rows, supports = order.new_empty(candidates), order.new_empty(candidates)
    total = 0
    size = CHUNK[query.device.type]
    for row, start, length in zip(*(part.split(size) for part in _blocks(first, count))):
        found = _near(query, support, windows, row, start, length, order, radius)
        block, pairs = found >> SHIFT, slice(total, total + len(found))
        torch.index_select(row, 0, block, out=rows[pairs])
        torch.index_select(order, 0, _place(start, block, found), out=supports[pairs])
        total = pairs.stop
    return rows[:total], supports[:total]


def _runs(
    query: Tensor, query_scan: Tensor, support: Tensor, support_scan: Tensor, radius: float
) -> tuple[Tensor, ...]:
    """First place and length (M, K) of the candidates of every query in K strips, and the order of the supports."""
    size = query.new_tensor(STRIP, dtype=torch.float64) * radius
    reach = [ceil(1 / width) for width in STRIP]
    low = torch.minimum(query.amin(0), support.amin(0)).double()
    extent = torch.maximum(query.amax(0), support.amax(0)).double() - low
    # an empty margin on all sides: no ball reaches into strips of another row
    span = extent[0] + 4 * radius
    rows = (extent[1] / size[0]).floor() + 1 + 2 * reach[0]
    layers = (extent[2] / size[1]).floor() + 1 + 2 * reach[1]

    def place(xyz: Tensor) -> tuple[Tensor, Tensor]:
        x = xyz[:, 0].double() - low[0] + 2 * radius
        return x, (xyz[:, 1:].double() - low[1:]) / size + torch.tensor(reach, device=xyz.device)

    def key(scan: Tensor, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return ((scan * layers + z) * rows + y) * span + x

    x, yz = place(support)
    keys, order = key(support_scan, *yz.floor().unbind(1), x).sort()
    x, yz = place(query)
    y, z = (_touched(position, n) for position, n in zip(yz.unbind(1), reach))
    gap = ((y[1] * size[0]).square()[:, None] + (z[1] * size[1]).square()[:, :, None]).flatten(1)
    half = (radius**2 * (1 + MARGIN) - gap).clamp(min=0).sqrt()
    middle = key(query_scan[:, None, None], y[0][:, None], z[0][:, :, None], x[:, None, None]).flatten(1)
    first = torch.searchsorted(keys, middle - half)
    return first, torch.searchsorted(keys, middle + half) - first, order


def _touched(position: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Strips (M, 2 reach + 1) around positions (M,) in strips, and their distances from them."""
    strip = position.floor()[:, None] + torch.arange(-reach, reach + 1, device=position.device)
    return strip, torch.maximum(strip - position[:, None], position[:, None] - strip - 1).clamp(min=0)


def _blocks(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, first place and number of candidates, at most BLOCK, of the blocks that make up all runs (M, K)."""
    runs = first.shape[1]
    first, count = first.flatten(), count.flatten()
    blocks = (count + BLOCK - 1) >> SHIFT
    run = torch.repeat_interleave(blocks)
    passed = (torch.arange(len(run), device=run.device) - (blocks.cumsum(0) - blocks)[run]) << SHIFT
    row = run.div(runs, rounding_mode='floor')
    return row, first[run] + passed, (count[run] - passed).clamp(max=BLOCK)


def _place(start: Tensor, block: Tensor, found: Tensor) -> Tensor:
    """Places among the sorted supports of candidates `found`, numbered through all blocks."""
    passed = torch.arange(len(start), device=start.device) << SHIFT
    return (start - passed).index_select(0, block).add_(found)


def _near(
    query: Tensor,
    support: Tensor,
    windows: Tensor,
    row: Tensor,
    start: Tensor,
    length: Tensor,
    order: Tensor,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """Candidates of some blocks that are near their query, numbered through all blocks."""
    axes = windows.index_select(0, start).sub_(query.index_select(0, row).float()[:, :, None]).square_()
    distance = torch.add(axes[:, 0], axes[:, 1]).add_(axes[:, 2]).flatten()
    sizes = torch.arange(BLOCK + 1, device=row.device)
    near = (sizes[:-1] < sizes[:, None]).index_select(0, length).flatten()
    near &= distance < radius**2 * (1 + MARGIN)
    sure = near & (distance < radius**2 * (1 - MARGIN))
    if not sure.equal(near):
        close = (sure ^ near).nonzero()[:, 0]
        block = close >> SHIFT
        own, other = query[row[block]].double(), support[order[_place(start, block, close)]].double()
        near[close] = (own - other).square().sum(1) < radius**2
    return near.nonzero()[:, 0]


@torch.no_grad()
def cells_in_radius(
    query: Tensor, query_scan: Tensor, lower: Tensor, cell: Tensor, shape: tuple[int, int], radius: float
) -> tuple[Tensor, Tensor]:
    """All pairs of a query and a cell of its scan's map whose center is nearer than r on the ground.

    No search: in each row of the map within reach of a query they are one run, whose ends follow from Pythagoras.

    Args:
        query: Float (M, >=2), x, y in meters.
        query_scan: Int64 (M,), scan of every query.
        lower: Float (2,), x, y of the map's lower corner.
        cell: Float (2,), size of a cell in meters.
        shape: Rows (along y) and columns (along x) of the map.
        radius: r in meters.

    Returns:
        Int64 (P,) rows of the queries in ascending order, and (P,) cells: (scan * rows + row) * columns + column.
    """
    height, width = shape
    x, y = ((query[:, :2].double() - lower) / cell - 0.5).unbind(1)
    reach = radius / cell.double()
    low = (y - reach[1]).floor_() + 1
    rows = low[:, None] + torch.arange(int(2 * reach[1]) + 1, device=y.device)
    half = ((rows - y[:, None]) * cell[1]).square_().neg_().add_(radius**2).clamp_(min=0).sqrt_().div_(cell[0])
    left = (x[:, None] - half).floor_().add_(1).clamp_(min=0)
    length = half.add_(x[:, None]).ceil_().clamp_(max=width).sub_(left).clamp_(min=0)
    length.mul_((rows >= 0) & (rows < height))
    first = rows.add_((query_scan * height)[:, None]).mul_(width).add_(left)
    return _expand(first.long(), length.long())


def _expand(first: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """All (row, first + i) with i below the length of runs (M, K)."""
    count = length.sum(1)
    total = int(count.sum())
    row = torch.repeat_interleave(count, output_size=total)
    start = first.flatten() - (length.flatten().cumsum(0) - length.flatten())
    cells = torch.repeat_interleave(start, length.flatten(), output_size=total)
    return row, cells.add_(torch.arange(total, device=first.device))


def draw_neighbors(query: Tensor, num_queries: int, limit: int | None, generator: torch.Generator) -> Tensor:
    """At most `limit` pairs of every query, every choice equally likely.

    Floyd's sampling, for all queries side by side: no sorting of the pairs.

    Args:
        query: Int64 (P,), query of every pair; all pairs of a query come together.
        num_queries: Number of queries.
        limit: Maximum number of pairs of a query; None keeps all.
        generator: On the device of the pairs.

    Returns:
        Int64 indices of the pairs that are kept, ascending.
    """
    everything = torch.arange(len(query), device=query.device)
    if limit is None or not len(query):
        return everything
    count = histogram(query, num_queries)
    crowded = (count > limit).nonzero()[:, 0]
    if not len(crowded):
        return everything
    start = torch.zeros_like(count).scatter_reduce_(0, query, everything, 'amin', include_self=False)
    size = count[crowded]
    chosen = torch.empty(len(crowded), limit, dtype=torch.int64, device=query.device)
    for i in range(limit):
        last = size - limit + i
        draw = torch.rand(len(size), generator=generator, device=query.device, dtype=torch.float64)
        place = (draw * (last + 1)).long()
        taken = (chosen[:, :i] == place[:, None]).any(1)
        chosen[:, i] = torch.where(taken, last, place)
    keep = (count <= limit).index_select(0, query)
    keep[(start[crowded][:, None] + chosen).flatten()] = True
    return keep.nonzero()[:, 0]
