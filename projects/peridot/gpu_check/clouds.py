"""Made-up lidar scans."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lidar_points(count: int, columns: int = 4, intensity: float = 255.0, seed: int = 0) -> Tensor:
    """Ground and obstacles around a sensor at a height of 1.84 m.

    Args:
        count: N.
        columns: 4, or 5 with the ring of the laser.
        intensity: Largest intensity.
        seed: Equal seeds give equal points.

    Returns:
        Float32 (N, columns): x, y, z in meters, intensity, ring.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(count, 5, generator=generator)
    azimuth = 2 * math.pi * draws[:, 0]
    elevation = torch.deg2rad(40 * draws[:, 1] - 30)
    ground = 1.84 / (-elevation.sin()).clamp(min=1e-3)
    # obstacles get rarer with the distance
    reach = torch.minimum(ground, 3 - 20 * draws[:, 2].clamp(min=1e-2).log()).clamp(max=100)
    flat = reach * elevation.cos()
    ring = (draws[:, 1] * 32).floor()
    values = [flat * azimuth.sin(), flat * azimuth.cos(), reach * elevation.sin(), intensity * draws[:, 3], ring]
    return torch.stack(values[:columns], 1)
