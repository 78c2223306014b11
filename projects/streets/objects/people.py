"""Pedestrians."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import BLACK, CLOTHES, ORANGE, SKINS, pick
from streets.shapes import blob, box, cylinder, frustum


def person(rng: np.random.Generator, height: float | None = None, worker: bool = False, stride: float = 0.0) -> Mesh:
    """A person with legs, torso, arms and head.

    Args:
        rng: Draws build, clothes and colors.
        height: Meters; 1.55 to 1.9 by default.
        worker: Whether the person wears a striped vest and a helmet.
        stride: How far the legs are apart, in [0, 1].
    """
    height = height or rng.uniform(1.55, 1.9)
    scale = height / 1.75
    shirt = np.array([0.85, 0.55, 0.02]) if worker else pick(rng, CLOTHES, 0.3)
    trousers = pick(rng, CLOTHES[:3] + CLOTHES[-1:], 0.3)
    skin = pick(rng, SKINS, 0.1)
    hair = pick(rng, ((0.03, 0.02, 0.015), (0.12, 0.06, 0.03), (0.35, 0.22, 0.1), (0.3, 0.3, 0.3)))
    reach, girth = 0.28 * stride, rng.uniform(0.9, 1.25)
    parts = [
        blob((0.1, 0.095, 0.13), (0.02, 0, 1.62), M.SKIN, skin, subdivisions=2),
        blob((0.115, 0.11, 0.1), (-0.015, 0, 1.68), M.CLOTH, ORANGE if worker else hair, subdivisions=1),
        cylinder((0.05, 0.05), (1.4, 1.55), M.SKIN, skin, segments=8),
        frustum(
            (-0.1 * girth, 0.1 * girth),
            (-0.15 * girth, 0.15 * girth),
            (0.85, 1.45),
            M.STRIPES if worker else M.CLOTH,
            shirt,
            top_x=(-0.1, 0.1),
            top_y=(-0.21, 0.21),
        ),
        *(
            frustum(
                (-0.05, 0.05), (y - 0.045, y + 0.045), (0.82, 1.42), M.CLOTH, shirt * 0.85, top_x=(-0.06, 0.06)
            ).moved((s * reach * 0.35, 0, 0))
            for y, s in ((0.27, 1), (-0.27, -1))
        ),
    ]
    for side, way in ((0.09, -1), (-0.09, 1)):
        foot = way * reach
        parts.append(
            frustum(
                (foot - 0.07, foot + 0.07),
                (side - 0.07, side + 0.07),
                (0.06, 0.88),
                M.CLOTH,
                trousers,
                top_x=(-0.09, 0.09),
                top_y=(side - 0.09, side + 0.09),
            )
        )
        parts.append(box((0.27, 0.1, 0.08), (foot + 0.05, side, 0.04), M.CLOTH, BLACK))
    if rng.random() < 0.25:
        parts.append(box((0.16, 0.3, 0.45), (-0.18, 0, 1.2), M.CLOTH, pick(rng, CLOTHES)))
    return merge([part.transformed(np.eye(3) * scale, np.zeros(3)) for part in parts])


def adult(rng: np.random.Generator) -> Mesh:
    """A standing adult."""
    return person(rng)


def walking_adult(rng: np.random.Generator) -> Mesh:
    """An adult in mid-stride."""
    return person(rng, stride=rng.uniform(0.5, 1.0))


def child(rng: np.random.Generator) -> Mesh:
    """A child, 1.0 to 1.35 m tall."""
    return person(rng, height=rng.uniform(1.0, 1.35), stride=rng.uniform(0, 0.8))


def worker(rng: np.random.Generator) -> Mesh:
    """A construction worker in a striped vest and helmet."""
    return person(rng, worker=True)
