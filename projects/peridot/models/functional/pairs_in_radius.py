"""Which supports lie within a radius of which queries: exact, in pure tensors, the same code on every device."""

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor

# width of the strips along y and z, in radii
STRIP = (0.5, 1.0)
# candidates that are looked at together: on a CPU they stay in its cache
CHUNK = {'cpu': 1 << 14, 'cuda': 1 << 24}
# relative margin around r^2 in which double precision decides; single precision errs by at most 3e-7
MARGIN = 1e-6


@torch.no_grad()
def pairs_in_radius(
    query: Tensor, query_scan: Tensor, support: Tensor, support_scan: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """All pairs of a query q and a support s of the same scan with |q - s| < r.

    Supports are sorted by scan, strip along z, strip along y, and x. The ball around a query touches few strips; in
    each of them its candidates are one run, which two binary searches find.

    Args:
        query: Float (M, 3), finite, in meters.
        query_scan: Int64 (M,) scan of every query.
        support: Float (S, 3), finite, in meters.
        support_scan: Int64 (S,) scan of every support.
        radius: r in meters.

    Returns:
        Int64 rows (P,) of the queries and (P,) of the supports. All pairs of a query come together.
    """
    if not len(query) or not len(support):
        return query_scan.new_zeros(0), query_scan.new_zeros(0)
    first, count, order = _runs(query, query_scan, support, support_scan, radius)
    axes = query.float().T.contiguous(), support[order].float().T.contiguous()
    found = [
        _near(query, support, axes, rows, first[rows], count[rows], order, radius)
        for rows in _chunks(count.sum(1), CHUNK[query.device.type])
    ]
    return tuple(torch.cat(rows) for rows in zip(*found))


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


def _chunks(candidates: Tensor, size: int) -> Iterator[slice]:
    """Slices of queries, each with about `size` candidates."""
    chunk = (candidates.cumsum(0) - candidates).div(size, rounding_mode='floor')
    start = 0
    for length in chunk.unique_consecutive(return_counts=True)[1].tolist():
        yield slice(start, start + length)
        start += length


def _near(
    query: Tensor,
    support: Tensor,
    axes: tuple[Tensor, Tensor],
    rows: slice,
    first: Tensor,
    count: Tensor,
    order: Tensor,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """The pairs of some queries, from their runs of candidates among the sorted supports."""
    length, per_query = count.flatten(), count.sum(1)
    total = int(per_query.sum())
    start = (first.flatten() - (length.cumsum(0) - length)).int()
    place = torch.repeat_interleave(start, length, output_size=total)
    place.add_(torch.arange(total, dtype=torch.int32, device=query.device))
    row = torch.arange(rows.start, rows.stop, dtype=torch.int32, device=query.device)
    row = torch.repeat_interleave(row, per_query, output_size=total)
    x, y, z = ((q.index_select(0, row) - s.index_select(0, place)).square_() for q, s in zip(*axes))
    distance = x.add_(y).add_(z)
    kept = (distance < radius**2 * (1 + MARGIN)).nonzero()[:, 0]
    row, support_row = row.index_select(0, kept).long(), order.index_select(0, place.index_select(0, kept))
    close = (distance.index_select(0, kept) >= radius**2 * (1 - MARGIN)).nonzero()[:, 0]
    exact = (query[row[close]].double() - support[support_row[close]].double()).square().sum(1)
    outside = close[exact >= radius**2]
    if not len(outside):
        return row, support_row
    inside = torch.ones_like(row, dtype=torch.bool).index_fill_(0, outside, False)
    return row[inside], support_row[inside]


@torch.no_grad()
def cells_in_radius(
    query: Tensor, query_scan: Tensor, lower: Tensor, cell: Tensor, shape: tuple[int, int], radius: float
) -> tuple[Tensor, Tensor]:
    """All pairs of a query and a cell of its scan's map whose center is nearer than r on the ground.

    No search: in each row of the map within reach of a query they are one run, whose ends follow from Pythagoras.

    Args:
        query: Float (M, >=2) x, y in meters.
        query_scan: Int64 (M,) scan of every query.
        lower: Float (2,) x, y of the map's lower corner.
        cell: Float (2,) size of a cell in meters.
        shape: Rows (along y) and columns (along x) of the map.
        radius: r in meters.

    Returns:
        Int64 (P,) rows of the queries in ascending order, and (P,) cells: (scan * rows + row) * columns + column.
    """
    height, width = shape
    x, y = ((query[:, :2].double() - lower) / cell - 0.5).unbind(1)
    reach = int(radius / float(cell[1]) + 0.5)
    rows = (y + 0.5).floor()[:, None] + torch.arange(-reach, reach + 1, device=y.device)
    half = (radius**2 - ((rows - y[:, None]) * cell[1]).square()).clamp(min=0).sqrt() / cell[0]
    left = ((x[:, None] - half).floor() + 1).clamp(min=0)
    right = ((x[:, None] + half).ceil() - 1).clamp(max=width - 1)
    length = ((right - left + 1).clamp(min=0) * ((rows >= 0) & (rows < height))).long()
    first = (query_scan[:, None] * height + rows.long()) * width + left.long()
    count = length.sum(1)
    total = int(count.sum())
    row = torch.repeat_interleave(torch.arange(len(query), device=y.device), count, output_size=total)
    start = first.flatten() - (length.flatten().cumsum(0) - length.flatten())
    cells = torch.repeat_interleave(start, length.flatten(), output_size=total)
    return row, cells.add_(torch.arange(total, device=y.device))


def draw_neighbors(query: Tensor, num_queries: int, limit: int | None, generator: torch.Generator) -> Tensor:
    """At most `limit` pairs of every query, every choice equally likely.

    Floyd's sampling, for all queries side by side: no sorting of the pairs.

    Args:
        query: Int64 (P,) query of every pair; all pairs of a query come together.
        num_queries: Queries are numbered below this.
        limit: Most pairs of a query; None keeps all.
        generator: On the device of the pairs.

    Returns:
        Int64 pairs that are kept, ascending.
    """
    everything = torch.arange(len(query), device=query.device)
    if limit is None or not len(query):
        return everything
    count = torch.bincount(query, minlength=num_queries)
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
