#!/usr/bin/env python3
"""Search of 16 neighbors of 20,000 points on one core, and of the nearest token of 35,000 points.

Best of several runs: the k-d tree against all distances in chunks, which accelerators take.
"""

import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
from peridot.models.functional.neighbors import _others_by_distance, nearest, nearest_others

POINTS, ALL_POINTS, NEIGHBORS = 20_000, 35_000, 16


def make_points(points: int, seed: int) -> torch.Tensor:
    """Rings of a spinning lidar over a plane with obstacles, (points, 3) in meters."""
    g = torch.Generator().manual_seed(seed)
    azimuth, obstacle = torch.rand(2, points, generator=g)
    elevation = torch.deg2rad(torch.randint(-30, 10, (points,), generator=g).float())
    ground = (1.8 / (-elevation).sin().clamp(min=1e-3)).clamp(max=60)
    distance = torch.minimum(ground, 5 + 55 * obstacle)
    azimuth = 2 * torch.pi * azimuth
    flat = distance * elevation.cos()
    return torch.stack((flat * azimuth.cos(), flat * azimuth.sin(), distance * elevation.sin()), dim=1)


def best(call, repeats: int) -> float:
    """Milliseconds of processor time of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds)


def main() -> None:
    """Measure and compare."""
    torch.set_num_threads(1)
    xyz, cloud = make_points(POINTS, 0), make_points(ALL_POINTS, 1)
    tree = best(lambda: nearest_others(xyz, NEIGHBORS), 15)
    distances = best(lambda: _others_by_distance(xyz, NEIGHBORS), 1)
    print(f'{NEIGHBORS} neighbors of {POINTS} points: {tree:.0f} ms by k-d tree, {distances:.0f} ms by all distances')
    print(f'nearest of {POINTS} tokens for {ALL_POINTS} points: {best(lambda: nearest(cloud, xyz), 15):.0f} ms')


if __name__ == '__main__':
    main()
