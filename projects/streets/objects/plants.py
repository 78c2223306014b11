"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import pick
from streets.shapes import blob, box, cylinder, leaves

GREENS = ((0.09, 0.2, 0.04), (0.14, 0.24, 0.05), (0.06, 0.16, 0.05), (0.2, 0.22, 0.04), (0.3, 0.15, 0.03))
BARKS = ((0.16, 0.11, 0.07), (0.22, 0.19, 0.16), (0.1, 0.07, 0.05))


def tree(rng: np.random.Generator, fine: bool = True) -> Mesh:
    """A broadleaf tree or a conifer, 4 to 10 m tall; with `fine` it has more and smaller leaves."""
    height, trunk = rng.uniform(4.0, 10.0), rng.uniform(0.1, 0.22)
    green, bark = pick(rng, GREENS, 0.25), pick(rng, BARKS)
    if rng.random() < 0.2:
        return _conifer(rng, height, trunk, green, bark, fine)
    fork = height * rng.uniform(0.3, 0.45)
    crown = rng.uniform(0.17, 0.3) * height
    parts = [cylinder((trunk, trunk * 0.7), (-0.5, fork + crown), M.BARK, bark, segments=8)]
    for _ in range(rng.integers(4, 8)):
        radius = crown * rng.uniform(0.5, 0.85) * np.array([1, 1, rng.uniform(0.7, 1.0)])
        rise = radius[2] * 0.6 + rng.random() * min(crown * 1.6, height - fork)
        at = np.array([*rng.normal(scale=crown * 0.4, size=2), fork + rise])
        shade = green * rng.uniform(0.75, 1.2)
        parts.append(blob(radius * 0.8, at, M.LEAVES, shade * 0.75, rng, 0.18, 2 if fine else 1))
        parts.append(leaves(300 if fine else 60, radius, at, shade, rng, 0.2 if fine else 0.4))
    return merge(parts)


def _conifer(
    rng: np.random.Generator, height: float, trunk: float, green: np.ndarray, bark: np.ndarray, fine: bool
) -> Mesh:
    """Five cones of needles around a trunk of radius `trunk`, meters; `green` and `bark` are colors (3,)."""
    parts = [cylinder((trunk, trunk * 0.6), (-0.5, height * 0.3), M.BARK, bark, segments=8)]
    for level in np.linspace(0.12, 0.8, 5):
        spread = 0.26 * height * (1 - level)
        low, high, shade = level * height, (level + 0.28) * height, green * rng.uniform(0.7, 1.1)
        parts.append(cylinder((spread * 0.85, 0.05), (low, high), M.LEAVES, shade, segments=11))
        # from the tip (0) to the rim (1), evenly over the area of the cone
        down = np.sqrt(rng.random(260 if fine else 50))
        needles = leaves(len(down), (1, 1, 1), (0, 0, 0), shade, rng, 0.17 if fine else 0.35)
        angle = rng.uniform(0, 2 * np.pi, len(down))
        ring = spread * down * 1.02
        spot = np.stack([ring * np.cos(angle), ring * np.sin(angle), high + (low - high) * down], 1)
        needles.vertices += (spot - needles.vertices.mean(1))[:, None].astype(np.float32)
        outward = np.stack([np.cos(angle), np.sin(angle), np.full_like(angle, 0.5)], 1) / np.sqrt(1.25)
        needles.normal = outward.astype(np.float32)
        parts.append(needles)
    return merge(parts)


def bush(rng: np.random.Generator, fine: bool = True) -> Mesh:
    """A shrub, 0.5 to 1.6 m tall; with `fine` it has more and smaller leaves."""
    radius = rng.uniform(0.3, 0.8)
    green = pick(rng, GREENS[:3], 0.3)
    parts = []
    for _ in range(rng.integers(1, 4)):
        at = np.array([*rng.normal(scale=radius * 0.6, size=2), radius * 0.75])
        parts.append(blob((radius * 0.85, radius * 0.85, radius * 0.85), at, M.LEAVES, green * 0.8, rng, 0.2, 1))
        parts.append(leaves(110 if fine else 30, (radius, radius, radius), at, green, rng, 0.12 if fine else 0.25))
    return merge(parts)


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """A trimmed hedge along x, `length` meters long."""
    height, depth = rng.uniform(0.7, 1.6), rng.uniform(0.5, 0.8)
    green = pick(rng, ((0.07, 0.17, 0.04), (0.12, 0.2, 0.05)), 0.2)
    core = box((length, depth, height), (0, 0, height / 2), M.LEAVES, green)
    fringe = leaves(int(60 * length), (1, 1, 1), (0, 0, 0), green, rng, 0.14)
    middle = fringe.vertices.mean(1, keepdims=True)
    spot = rng.uniform(-1, 1, (len(fringe), 1, 3))
    spot[np.arange(len(fringe)), 0, rng.integers(1, 3, len(fringe))] = rng.choice([-1.0, 1.0], len(fringe))
    target = spot * np.array([length, depth, height]) / 2 + np.array([0, 0, height / 2])
    fringe.vertices = (fringe.vertices - middle + target).astype(np.float32)
    return merge([core, fringe])
