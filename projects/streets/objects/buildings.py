"""Buildings of `width` x `depth` meters. The front faces +y, toward the street; x runs along the street."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import DARK, pick
from streets.shapes import box, frustum, quads

BRICKS = ((0.35, 0.13, 0.08), (0.42, 0.2, 0.12), (0.3, 0.22, 0.16), (0.45, 0.36, 0.26))
PLASTERS = (
    (0.62, 0.55, 0.42),
    (0.66, 0.62, 0.55),
    (0.55, 0.36, 0.25),
    (0.5, 0.54, 0.56),
    (0.68, 0.55, 0.3),
    (0.42, 0.5, 0.42),
)
ROOFS = ((0.3, 0.09, 0.05), (0.12, 0.11, 0.12), (0.22, 0.15, 0.1))
BASE = -2.5  # walls start below the ground, so that slopes leave no gap


def block(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    """A city building of several floors with shops at street level, balconies, cornice and roof clutter."""
    floors = int(rng.integers(2, 8))
    height = 3.9 + 3.1 * floors
    look = rng.choice([M.BRICK_FACADE, M.FACADE, M.FACADE, M.CURTAIN])
    color = pick(rng, BRICKS if look == M.BRICK_FACADE else PLASTERS)
    trim = np.clip(color * rng.choice([0.6, 1.35]), 0, 0.85)
    shop = M.SHOP if rng.random() < 0.7 else look
    roof = {'top': (M.CONCRETE, (0.3, 0.3, 0.3))}
    parts = [
        _footing(width, depth),
        box(
            (width, depth, 3.8),
            (0, 0, 1.9),
            shop,
            pick(rng, PLASTERS + ((0.1, 0.1, 0.12), (0.3, 0.08, 0.06))),
        ),
        box((width, depth, height - 3.8), (0, 0, (height + 3.8) / 2), look, color, roof),
        box((width + 0.25, depth + 0.25, 0.28), (0, 0, 3.8), M.CONCRETE, trim),
        box((width + 0.4, depth + 0.4, 0.5), (0, 0, height), M.CONCRETE, trim),
    ]
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform((1.5, 1.5, 1.0), (min(5, width / 2), 4, 3))
        parts.append(
            box(size, (*rng.uniform(-0.25, 0.25, 2) * (width, depth), height + size[2] / 2), M.RIBS, (0.35, 0.36, 0.37))
        )
    if rng.random() < 0.5:
        for floor in range(1, floors):
            for x in np.arange(-width / 2 + 2.2, width / 2 - 1.5, 5.2):
                parts.append(box((2.2, 1.0, 1.0), (x, depth / 2 + 0.5, 3.8 + 3.1 * floor + 0.4), M.RIBS, trim))
    if shop == M.SHOP and rng.random() < 0.7:
        awning = pick(rng, ((0.5, 0.05, 0.05), (0.05, 0.25, 0.15), (0.6, 0.55, 0.4), (0.05, 0.1, 0.35)))
        for x in np.arange(-width / 2 + 2.0, width / 2 - 1.5, 4.4):
            parts.append(_awning(x, depth / 2, awning))
    return merge(parts)


def _footing(width: float, depth: float) -> Mesh:
    """The part of the walls at and below the ground."""
    return box((width + 0.08, depth + 0.08, 0.3 - BASE), (0, 0, (0.3 + BASE) / 2), M.CONCRETE, (0.38, 0.37, 0.35))


def _awning(x: float, y: float, color: np.ndarray) -> Mesh:
    """A striped awning that starts at the wall `y`, visible from above and below."""
    corners = np.array([[x - 1.6, y + 1.3, 2.6], [x - 1.6, y, 3.3], [x + 1.6, y, 3.3], [x + 1.6, y + 1.3, 2.6]])
    return quads(np.stack([corners[::-1], corners]), M.STRIPES, color)


def house(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    """A single-family house with a gable roof, chimney, porch and perhaps a garage."""
    height = rng.uniform(3.0, 6.2)
    brick = rng.random() < 0.5
    color = pick(rng, BRICKS if brick else PLASTERS)
    roof, rise = pick(rng, ROOFS), rng.uniform(1.8, 3.2)
    parts = [
        _footing(width, depth),
        box((width, depth, height), (0, 0, height / 2), M.BRICK_FACADE if brick else M.FACADE, color),
        _gable(width + 0.8, depth + 0.9, height, rise, roof, color),
        box((0.7, 0.7, 2.2), (width * 0.25, -depth * 0.15, height + rise * 0.9), M.BRICK, BRICKS[0]),
        box((1.8, 1.2, 0.35), (0, depth / 2 + 0.6, 0.1), M.CONCRETE, (0.5, 0.49, 0.47)),
        box(
            (1.1, 0.08, 2.1),
            (0, depth / 2 + 0.03, 1.3),
            M.PLANKS,
            pick(rng, ((0.3, 0.1, 0.05), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))),
        ),
        box((2.2, 1.4, 0.12), (0, depth / 2 + 0.7, 2.7), M.TILES, roof),
    ]
    if rng.random() < 0.5:
        x = (width / 2 + 1.7) * rng.choice([-1, 1])
        parts.append(box((3.4, 5.5, 2.8 - BASE), (x, depth / 2 - 3.0, (2.8 + BASE) / 2), M.PLANKS, color * 0.9))
        parts.append(box((2.6, 0.08, 2.2), (x, depth / 2 - 0.22, 1.1), M.RIBS, (0.6, 0.6, 0.58)))
    return merge(parts)


def _gable(width: float, depth: float, z: float, rise: float, color: ArrayLike, wall: ArrayLike) -> Mesh:
    """A gable roof from height `z` to `z + rise` whose ridge runs along x; `wall` is the color of its ends."""
    x, y = width / 2, depth / 2
    slope = np.array(
        [
            [[-x, -y, z], [x, -y, z], [x, 0, z + rise], [-x, 0, z + rise]],
            [[x, y, z], [-x, y, z], [-x, 0, z + rise], [x, 0, z + rise]],
        ]
    )
    end = np.array(
        [
            [[x - 0.3, -y, z], [x - 0.3, y, z], [x - 0.3, 0, z + rise], [x - 0.3, 0, z + rise]],
            [[0.3 - x, y, z], [0.3 - x, -y, z], [0.3 - x, 0, z + rise], [0.3 - x, 0, z + rise]],
        ]
    )
    return merge([quads(slope, M.TILES, color), quads(end, M.PLANKS, wall)])


def hall(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    """An industrial building of ribbed metal with gates and a protruding office."""
    height = rng.uniform(5.0, 9.0)
    color = pick(rng, ((0.4, 0.45, 0.5), (0.55, 0.55, 0.52), (0.15, 0.28, 0.4), (0.45, 0.3, 0.2), (0.25, 0.35, 0.28)))
    parts = [
        box(
            (width, depth, height - 1),
            (0, 0, (height + 1) / 2),
            M.RIBS,
            color,
            {'top': (M.CONCRETE, (0.35, 0.35, 0.35))},
        ),
        box((width + 0.05, depth + 0.05, 1 - BASE), (0, 0, (1 + BASE) / 2), M.CONCRETE, (0.42, 0.41, 0.39)),
        box((width + 0.1, depth + 0.1, 0.35), (0, 0, height), M.METAL, color * 0.6),
    ]
    for x in np.arange(-width / 2 + 3, width / 2 - 3, 6.5):
        parts.append(
            box(
                (4.0, 0.1, 4.0),
                (x, depth / 2 + 0.03, 2.0),
                M.RIBS,
                pick(rng, ((0.6, 0.6, 0.6), (0.5, 0.1, 0.05), DARK)),
            )
        )
    parts.append(
        frustum((-width / 2, -width / 2 + 5), (depth / 2, depth / 2 + 3), (BASE, 3.4), M.FACADE, pick(rng, PLASTERS))
    )
    return merge(parts)
