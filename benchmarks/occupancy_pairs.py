#!/usr/bin/env python3
"""Neighbor pairs of ALSO against scipy's k-d tree, on one core: a sweep of 80,000 points and cells of a BEV map.

The sweep is a file of KITTI (`python benchmarks/occupancy_pairs.py 000000.bin`) or, without one, a made-up street.
"""

import itertools
import sys
import time

import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
from peridot.models.functional import cells_in_radius, pairs_in_radius
from scipy.spatial import cKDTree
from torch import Tensor

SUPPORTS, QUERIES, RADIUS, REPEATS = 80_000, 4096, 1.0, 7
# SECOND on KITTI: 200 x 176 cells of 0.4 m, batch 8
LOWER, CELL, SHAPE, SCANS = (0.0, -40.0), 0.4, (200, 176), 8


def street(generator: torch.Generator) -> Tensor:
    """A ground plane that thins out with distance, and two rows of house fronts."""
    rand = lambda n: torch.rand(n, generator=generator)  # noqa: E731
    ranges, angles = 2 + 68 * rand(60_000).square(), 6.2832 * rand(60_000)
    ground = torch.stack([ranges * angles.cos(), ranges * angles.sin(), 0.05 * rand(60_000) - 1.7], 1)
    along, side = 60 * (rand(60_000) - 0.5) ** 3 * 8, torch.sign(rand(60_000) - 0.5)
    fronts = torch.stack([along, 9 * side + 0.1 * rand(60_000), 4 * rand(60_000) - 1.7], 1)
    return torch.cat([ground, fronts])


def queries_of(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Positions behind, in front of and on the way to random points."""
    third = QUERIES // 3
    chosen = xyz[torch.randperm(len(xyz), generator=generator)[:QUERIES]]
    u = torch.rand(QUERIES, 1, generator=generator)
    near = (2 * u[2 * third :] - 1) * 0.1 / chosen[2 * third :].norm(dim=1, keepdim=True)
    return torch.cat(
        [chosen[: 2 * third : 2] * u[: 2 * third : 2], chosen[1 : 2 * third : 2], chosen[2 * third :] * (1 + near)]
    )


def by_tree(query: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scipy's answer as index pairs."""
    found = cKDTree(support).query_ball_point(query, RADIUS)
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    flat = np.fromiter(itertools.chain.from_iterable(found), np.int64, int(lengths.sum()))
    return np.repeat(np.arange(len(found)), lengths), flat


def seconds(*functions) -> list[float]:
    """Best time of each function, measured in turns."""
    times = [[] for _ in functions]
    for _ in range(REPEATS):
        for own, function in zip(times, functions):
            start = time.perf_counter()
            function()
            own.append(time.perf_counter() - start)
    return [min(own) for own in times]


def report(name: str, ours, theirs, width: int) -> None:
    """Time both ways, compare their pairs."""
    a, b = (np.sort(np.asarray(q).astype(np.int64) * width + np.asarray(s)) for q, s in (ours(), theirs()))
    fast, slow = seconds(ours, theirs)
    print(f'{name}: {len(a)} pairs, {len(np.setxor1d(a, b))} differ')
    print(f'  scipy {slow * 1000:7.1f} ms, ours {fast * 1000:7.1f} ms: {slow / fast:.1f} times faster')


def main() -> None:
    """Measure points and cells."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    if len(sys.argv) > 1:
        xyz = torch.from_numpy(np.fromfile(sys.argv[1], np.float32).reshape(-1, 4)[:, :3].copy())
    else:
        xyz = street(generator)
    xyz = xyz[torch.randperm(len(xyz), generator=generator)[:SUPPORTS]]
    query = queries_of(xyz, generator)
    zeros = [torch.zeros(len(rows), dtype=torch.int64) for rows in (query, xyz)]
    report(
        f'{len(xyz)} points, {len(query)} queries',
        lambda: pairs_in_radius(query, zeros[0], xyz, zeros[1], RADIUS),
        lambda: by_tree(query.numpy(), xyz.numpy()),
        len(xyz),
    )

    rows, columns = SHAPE
    y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing='ij')
    centers = np.stack([x.ravel(), y.ravel()], 1) * CELL + LOWER
    # scans lie far apart for the tree
    ground = np.concatenate([np.c_[centers, np.full(len(centers), 100.0 * scan)] for scan in range(SCANS)])
    # all queries ahead, in every scan
    query = torch.cat([query[:, :1].abs(), query[:, 1:]], 1).repeat(SCANS, 1)
    scan = torch.arange(SCANS).repeat_interleave(QUERIES)
    flat = np.c_[query[:, :2].numpy(), 100.0 * scan.numpy()]
    lower, cell = torch.tensor(LOWER), torch.full((2,), CELL)
    report(
        f'{SCANS} maps of {rows} x {columns} cells, {QUERIES} queries each',
        lambda: cells_in_radius(query, scan, lower, cell, SHAPE, RADIUS),
        lambda: by_tree(flat, ground),
        len(ground),
    )


if __name__ == '__main__':
    main()
