"""Street furniture, barriers, fences and debris."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import BLACK, CAR_COLORS, CHROME, DARK, ORANGE, pick, wheels
from streets.shapes import blob, box, cylinder, frustum


def barrier(rng: np.random.Generator) -> Mesh:
    """A temporary barrier: concrete, water-filled plastic, or striped boards on feet."""
    length, kind = rng.uniform(1.7, 2.3), rng.integers(3)
    if kind < 2:
        look = (
            (M.CONCRETE, pick(rng, ((0.5, 0.49, 0.46),)))
            if kind == 0
            else (M.STRIPES, pick(rng, (ORANGE, (0.7, 0.05, 0.04))))
        )
        return merge(
            [
                frustum((-0.28, 0.28), (-length / 2, length / 2), (0, 0.35), *look, top_x=(-0.14, 0.14)),
                frustum((-0.14, 0.14), (-length / 2, length / 2), (0.35, 0.9), *look, top_x=(-0.08, 0.08)),
            ]
        )
    parts = [box((0.05, length, 0.22), (0, 0, z), M.STRIPES, (0.7, 0.05, 0.04)) for z in (0.55, 0.95)]
    parts += [
        box((0.5, 0.06, 1.06), (0, y, 0.53), M.METAL, (0.4, 0.4, 0.4)) for y in (-length / 2 + 0.2, length / 2 - 0.2)
    ]
    return merge(parts)


def cone(rng: np.random.Generator) -> Mesh:
    """A traffic cone or a tall delineator."""
    height, radius = rng.uniform(0.6, 1.05), rng.uniform(0.13, 0.19)
    return merge(
        [
            box((radius * 2.5, radius * 2.5, 0.05), (0, 0, 0.025), M.PAINT, (0.5, 0.12, 0.02)),
            cylinder((radius, radius * 0.25), (0.05, height), M.STRIPES, ORANGE, segments=12),
        ]
    )


def trash_can(rng: np.random.Generator) -> Mesh:
    """A wheeled trash can or a larger container."""
    size = (0.6, 0.6, 1.05) if rng.random() < 0.7 else (1.1, 1.4, 1.3)
    color = pick(rng, ((0.05, 0.2, 0.08), (0.06, 0.1, 0.3), (0.12, 0.12, 0.12), (0.3, 0.2, 0.05)))
    x, y, z = size
    return merge(
        [
            frustum(
                (-x / 2 + 0.06, x / 2 - 0.06),
                (-y / 2 + 0.04, y / 2 - 0.04),
                (0.08, z),
                M.PAINT,
                color,
                top_x=(-x / 2, x / 2),
                top_y=(-y / 2, y / 2),
            ),
            frustum(
                (-x / 2 - 0.04, x / 2 + 0.02),
                (-y / 2 - 0.02, y / 2 + 0.02),
                (z, z + 0.08),
                M.PAINT,
                color * 0.7,
                top_x=(-x / 2 + 0.05, x / 2 - 0.05),
            ),
            *wheels((-x / 2 + 0.1,), y / 2 - 0.02, 0.1, 0.06),
        ]
    )


def debris(rng: np.random.Generator) -> Mesh:
    """A pile of boxes or bags."""
    parts = []
    for _ in range(rng.integers(2, 5)):
        size = rng.uniform(0.25, 0.55, 3)
        at = (*rng.uniform(-0.3, 0.3, 2), size[2] / 2)
        parts.append(
            box(size, at, M.PLANKS, (0.42, 0.3, 0.17))
            if rng.random() < 0.5
            else blob(size / 2, at, M.PAINT, BLACK, rng, 0.2)
        )
    return merge(parts)


def bicycle_rack(rng: np.random.Generator) -> Mesh:
    """A row of steel hoops for bicycles."""
    parts = []
    for x in np.arange(rng.integers(3, 6)) * 0.8:
        parts += [box((0.06, 0.06, 0.8), (x, y, 0.4), M.METAL, CHROME) for y in (-0.4, 0.4)]
        parts.append(box((0.06, 0.86, 0.06), (x, 0, 0.82), M.METAL, CHROME))
    return merge(parts)


def street_light(rng: np.random.Generator) -> Mesh:
    """A tall pole with an arm toward +y."""
    height = rng.uniform(6.5, 9.0)
    gray = pick(rng, ((0.3, 0.31, 0.32), (0.1, 0.12, 0.12), (0.2, 0.25, 0.2)))
    return merge(
        [
            cylinder((0.14, 0.14), (-0.2, 0.9), M.METAL, gray * 0.8, segments=8),
            cylinder((0.09, 0.06), (0.9, height), M.METAL, gray, segments=8),
            box((0.08, 1.8, 0.08), (0, 0.85, height - 0.05), M.METAL, gray),
            box((0.28, 0.7, 0.12), (0, 1.75, height - 0.08), M.LAMP, (0.8, 0.8, 0.75)),
        ]
    )


def sign(rng: np.random.Generator) -> Mesh:
    """A thin pole with one or two traffic signs that face -x."""
    height = rng.uniform(2.2, 3.0)
    color = pick(
        rng, ((0.7, 0.03, 0.03), (0.02, 0.12, 0.5), (0.8, 0.6, 0.02), (0.05, 0.35, 0.12), (0.8, 0.8, 0.8)), 0.05
    )
    parts = [cylinder((0.035, 0.035), (-0.2, height), M.METAL, (0.4, 0.4, 0.4), segments=6)]
    parts.append(box((0.03, 0.68, 0.68), (-0.06, 0, height - 0.35), M.SIGN, color))
    if rng.random() < 0.4:
        parts.append(box((0.03, 0.6, 0.25), (-0.06, 0, height - 0.9), M.SIGN, (0.8, 0.8, 0.8)))
    return merge(parts)


def traffic_light(rng: np.random.Generator) -> Mesh:
    """A pole with a signal head that faces -x."""
    lit = rng.integers(3)
    colors = [(0.9, 0.03, 0.02), (0.9, 0.5, 0.02), (0.02, 0.8, 0.3)]
    parts = [
        cylinder((0.08, 0.07), (-0.2, 4.2), M.METAL, (0.12, 0.14, 0.12), segments=8),
        box((0.25, 0.36, 1.0), (-0.1, 0, 3.6), M.PAINT, (0.03, 0.03, 0.03)),
    ]
    for row, color in enumerate(colors):
        shade = color if row == lit else tuple(0.12 * c for c in color)
        parts.append(box((0.03, 0.22, 0.22), (-0.24, 0, 3.9 - 0.3 * row), M.LAMP, shade))
    return merge(parts)


def bench(rng: np.random.Generator) -> Mesh:
    """A wooden bench that faces +y."""
    wood = pick(rng, ((0.3, 0.18, 0.09), (0.25, 0.22, 0.18)))
    return merge(
        [
            box((1.7, 0.45, 0.07), (0, 0, 0.46), M.PLANKS, wood),
            box((1.7, 0.07, 0.4), (0, -0.22, 0.75), M.PLANKS, wood),
            *(box((0.08, 0.45, 0.45), (x, 0, 0.22), M.METAL, DARK) for x in (-0.75, 0.75)),
        ]
    )


def cabinet(rng: np.random.Generator) -> Mesh:
    """A utility cabinet or a mailbox."""
    size = rng.uniform((0.4, 0.6, 0.9), (0.6, 1.2, 1.5))
    color = pick(rng, ((0.35, 0.38, 0.36), (0.6, 0.5, 0.03), (0.5, 0.03, 0.03), (0.1, 0.2, 0.1)))
    return box(size, (0, 0, size[2] / 2), M.METAL, color)


def bollard(rng: np.random.Generator) -> Mesh:
    """A short post."""
    return cylinder(
        (0.09, 0.08),
        (0, rng.uniform(0.7, 1.0)),
        M.METAL,
        pick(rng, ((0.12, 0.12, 0.12), (0.5, 0.5, 0.48))),
        segments=10,
    )


def shelter(rng: np.random.Generator) -> Mesh:
    """A bus shelter: glass wall along x, roof, poster and bench; open toward +y."""
    return merge(
        [
            box((4.0, 0.05, 2.2), (0, -0.7, 1.2), M.GLASS, (0.25, 0.3, 0.32)),
            box((4.2, 1.7, 0.12), (0, 0, 2.45), M.METAL, DARK),
            box((0.1, 1.3, 2.0), (2.0, 0, 1.1), M.SIGN, pick(rng, CAR_COLORS[4:])),
            *(box((0.1, 0.1, 2.4), (x, y, 1.2), M.METAL, DARK) for x in (-2, 2) for y in (-0.7, 0.7)),
            box((2.6, 0.4, 0.06), (-0.3, -0.4, 0.5), M.PLANKS, (0.3, 0.2, 0.1)),
        ]
    )


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """A wooden fence, a low wall or a railing along x, `length` meters long."""
    kind = rng.integers(3)
    if kind == 0:
        height = rng.uniform(0.9, 1.7)
        return box(
            (length, 0.06, height),
            (0, 0, height / 2),
            M.PLANKS,
            pick(rng, ((0.35, 0.24, 0.14), (0.6, 0.58, 0.52), (0.2, 0.26, 0.2))),
        )
    if kind == 1:
        height = rng.uniform(0.5, 1.1)
        return box(
            (length, 0.3, height), (0, 0, height / 2), M.BRICK, pick(rng, ((0.35, 0.13, 0.08), (0.4, 0.34, 0.27)))
        )
    posts = [box((0.05, 0.05, 1.0), (x, 0, 0.5), M.METAL, DARK) for x in np.arange(-length / 2, length / 2 + 0.01, 0.6)]
    return merge(posts + [box((length, 0.06, 0.07), (0, 0, z), M.METAL, DARK) for z in (0.35, 1.0)])
