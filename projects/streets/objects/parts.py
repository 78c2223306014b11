"""Colors and parts that several kinds of objects share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from streets.mesh import Material as M
from streets.mesh import Mesh
from streets.shapes import box, cylinder

BLACK = (0.02, 0.02, 0.022)
DARK = (0.06, 0.06, 0.065)
CHROME = (0.45, 0.46, 0.48)
HEADLIGHT = (1.0, 0.97, 0.85)
TAILLIGHT = (0.75, 0.03, 0.02)
ORANGE = (0.9, 0.25, 0.02)
SKINS = ((0.75, 0.5, 0.38), (0.55, 0.34, 0.22), (0.3, 0.17, 0.1), (0.82, 0.6, 0.48))
CAR_COLORS = (
    (0.75, 0.76, 0.77),
    (0.03, 0.03, 0.035),
    (0.35, 0.36, 0.38),
    (0.13, 0.14, 0.16),
    (0.45, 0.02, 0.02),
    (0.03, 0.08, 0.32),
    (0.05, 0.2, 0.12),
    (0.6, 0.5, 0.35),
    (0.75, 0.4, 0.03),
    (0.15, 0.4, 0.55),
)
CLOTHES = (
    (0.05, 0.06, 0.1),
    (0.5, 0.06, 0.06),
    (0.06, 0.15, 0.4),
    (0.6, 0.6, 0.58),
    (0.1, 0.3, 0.14),
    (0.6, 0.42, 0.08),
    (0.35, 0.12, 0.35),
    (0.2, 0.2, 0.2),
)


def pick(rng: np.random.Generator, colors: ArrayLike, spread: float = 0.15) -> np.ndarray:
    """Draw one of the colors (N, 3) and vary it.

    Args:
        rng: Draws color and variation.
        colors: float (N, 3), linear RGB.
        spread: Largest relative change of the brightness; the hue changes slightly, too.

    Returns:
        float64 (3,), linear RGB.
    """
    color = np.asarray(colors[rng.integers(len(colors))], float)
    return np.clip(color * rng.uniform(1 - spread, 1 + spread) + rng.normal(scale=0.01, size=3), 0.01, 1.0)


def wheels(x_positions: Iterable[float], half_width: float, radius: float, width: float = 0.22) -> list[Mesh]:
    """A pair of wheels at each x, flush with the sides of a vehicle; all sizes in meters."""
    parts = []
    for x in x_positions:
        for inner, outer in ((half_width - width, half_width), (-half_width, -half_width + width)):
            parts.append(
                cylinder(
                    (radius, radius),
                    (inner, outer),
                    M.RUBBER,
                    BLACK,
                    at=(x, radius),
                    segments=14,
                    axis='y',
                    cap=(M.HUB, CHROME),
                )
            )
    return parts


def lights(x_front: float, x_back: float, half_width: float, z: float, size: float = 0.2) -> list[Mesh]:
    """Headlights and taillights as thin boxes on both ends of a vehicle; all sizes in meters."""
    y = half_width - size * 0.85
    parts = []
    for side in (-y, y):
        parts.append(box((0.04, size * 1.6, size * 0.7), (x_front, side, z), M.LAMP, HEADLIGHT))
        parts.append(box((0.04, size * 1.2, size), (x_back, side, z + 0.08), M.LAMP, TAILLIGHT))
    return parts
