"""Bicycles and motorcycles, with and without riders."""

from __future__ import annotations

import numpy as np

from streets.mesh import Material as M
from streets.mesh import Mesh, merge
from streets.objects.parts import BLACK, CAR_COLORS, CHROME, CLOTHES, DARK, HEADLIGHT, TAILLIGHT, pick
from streets.shapes import blob, box, cylinder, frustum


def bicycle(rng: np.random.Generator, rider: bool = False) -> Mesh:
    """A bicycle: two thin wheels, a frame, a handlebar, with `rider` its rider."""
    color = pick(rng, CAR_COLORS[3:])
    radius = rng.uniform(0.31, 0.35)
    parts = [
        cylinder(
            (radius, radius),
            (-0.022, 0.022),
            M.RUBBER,
            BLACK,
            at=(x, radius),
            segments=16,
            axis='y',
            cap=(M.HUB, (0.3, 0.3, 0.3)),
        )
        for x in (-0.52, 0.52)
    ]
    parts += [
        box((0.62, 0.05, 0.06), (0.05, 0, 0.8), M.PAINT, color),
        frustum((-0.15, -0.05), (-0.03, 0.03), (0.3, 0.95), M.PAINT, color, top_x=(-0.28, -0.2)),
        frustum((0.47, 0.55), (-0.03, 0.03), (0.3, 1.02), M.PAINT, color, top_x=(0.3, 0.38)),
        frustum((-0.08, 0.0), (-0.025, 0.025), (0.28, 0.82), M.PAINT, color, top_x=(0.3, 0.36)),
        box((0.25, 0.14, 0.06), (-0.25, 0, 0.97), M.PAINT, BLACK),
        box((0.05, 0.54, 0.05), (0.34, 0, 1.04), M.METAL, CHROME),
    ]
    if rng.random() < 0.3:
        parts.append(box((0.3, 0.34, 0.24), (0.6, 0, 0.92), M.PLANKS, (0.35, 0.25, 0.14)))
    return merge(parts + (_rider(rng, 0.95) if rider else []))


def cyclist(rng: np.random.Generator) -> Mesh:
    """A bicycle with its rider."""
    return bicycle(rng, rider=True)


def motorcycle(rng: np.random.Generator, rider: bool = False) -> Mesh:
    """A motorcycle: two fat wheels, tank, engine, seat and fork, with `rider` its rider."""
    color = pick(rng, CAR_COLORS)
    parts = [
        cylinder((0.31, 0.31), (-0.08, 0.08), M.RUBBER, BLACK, at=(x, 0.31), segments=16, axis='y', cap=(M.HUB, CHROME))
        for x in (-0.68, 0.7)
    ]
    parts += [
        box((0.65, 0.3, 0.4), (0.0, 0, 0.5), M.METAL, (0.2, 0.2, 0.21)),
        frustum((-0.1, 0.45), (-0.17, 0.17), (0.68, 0.98), M.PAINT, color, top_x=(-0.05, 0.35), top_y=(-0.12, 0.12)),
        frustum((-0.85, -0.05), (-0.15, 0.15), (0.66, 0.84), M.PAINT, BLACK, top_x=(-0.9, -0.1)),
        frustum((0.62, 0.74), (-0.1, 0.1), (0.35, 1.1), M.METAL, CHROME, top_x=(0.36, 0.46)),
        box((0.06, 0.72, 0.05), (0.36, 0, 1.08), M.METAL, DARK),
        box((0.14, 0.2, 0.2), (0.56, 0, 0.93), M.LAMP, HEADLIGHT),
        box((0.06, 0.14, 0.1), (-0.9, 0, 0.72), M.LAMP, TAILLIGHT),
        box((0.5, 0.1, 0.1), (-0.4, -0.2, 0.36), M.METAL, CHROME),
    ]
    return merge(parts + (_rider(rng, 0.84) if rider else []))


def motorcyclist(rng: np.random.Generator) -> Mesh:
    """A motorcycle with its rider."""
    return motorcycle(rng, rider=True)


def _rider(rng: np.random.Generator, seat: float) -> list[Mesh]:
    """Parts of a person with a helmet on a seat `seat` meters above the ground."""
    shirt, trousers = pick(rng, CLOTHES, 0.3), pick(rng, CLOTHES[:3])
    return [
        blob((0.12, 0.11, 0.14), (0.12, 0, seat + 0.78), M.PAINT, pick(rng, CAR_COLORS), subdivisions=2),
        frustum(
            (-0.25, 0.0), (-0.16, 0.16), (seat, seat + 0.62), M.CLOTH, shirt, top_x=(-0.05, 0.18), top_y=(-0.2, 0.2)
        ),
        *(
            frustum(
                (0.05, 0.16), (y - 0.04, y + 0.04), (seat + 0.1, seat + 0.55), M.CLOTH, shirt * 0.8, top_x=(0.0, 0.12)
            ).moved((0.18, 0, 0))
            for y in (0.22, -0.22)
        ),
        *(
            frustum((0.0, 0.13), (y - 0.06, y + 0.06), (0.28, seat + 0.08), M.CLOTH, trousers, top_x=(-0.15, 0.08))
            for y in (0.12, -0.12)
        ),
    ]
