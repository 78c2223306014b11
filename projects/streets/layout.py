"""The street: a curved and graded centerline, its cross section, and the ground made from it.

Places are given in street coordinates: `s` meters along the centerline, `d` meters to its left. A side is -1 (right)
or 1 (left).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from streets.mesh import Material, Mesh, soup
from streets.shapes import quads
from streets.taxonomy import INDEX

# all in meters
S_RANGE = (-130.0, 190.0)
LANE = 3.5
PARKING = 2.5
CURB = 0.14
REACH = 85.0  # half width of the modeled ground
# of the scenes of `taxonomy.SCENES`; those for validation, the second and the seventh, are a suburb and a city
KINDS = ('urban', 'suburb', 'industrial', 'park', 'urban', 'suburb', 'urban', 'industrial', 'park', 'suburb')
# meters of pavement behind the sidewalk: stone slabs in a city, concrete elsewhere
PLAZA = {'urban': 4.0, 'suburb': 3.0, 'industrial': 14.0, 'park': 2.5}


@dataclass
class Layout:
    """Cross section and course of one street; lengths are in meters, angles in radians.

    The direction of the centerline is bend * sin(2 pi s / wavelength + phase).

    Attributes:
        kind: 'urban' | 'suburb' | 'park' | 'industrial'.
        lanes: Lanes per direction.
        parking: Whether there is a parking lane (right, left).
        median: Half the width of the raised strip in the middle; 0 = none.
        verge: Width of the grass strip between curb and sidewalk.
        sidewalk: Width of the sidewalk.
        crossings: `s` of the centerlines of cross streets.
        crossing_half: Half the width of a cross street.
        bend: Largest turn against the x axis.
        wavelength: Length of a left and a right bend.
        phase: Where in the bend s = 0 lies.
        grade: Amplitude of the height along the street.
        rough: Amplitude of the bumps of the terrain.
    """

    kind: str
    lanes: int
    parking: tuple[bool, bool]
    median: float
    verge: float
    sidewalk: float
    crossings: tuple[float, ...]
    crossing_half: float
    bend: float
    wavelength: float
    phase: float
    grade: float
    rough: float
    _table: tuple = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Integrate the course of the centerline."""
        s = np.arange(S_RANGE[0] - 20, S_RANGE[1] + 20.1, 0.25)
        heading = self.bend * np.sin(2 * np.pi * s / self.wavelength + self.phase)
        x = np.concatenate([[0], np.cumsum(np.cos(heading[:-1]) * 0.25)])
        y = np.concatenate([[0], np.cumsum(np.sin(heading[:-1]) * 0.25)])
        zero = np.argmin(abs(s))
        self._table = (s, x - x[zero], y - y[zero], heading)

    def has_parking(self, side: int) -> bool:
        """Whether a side has a parking lane."""
        return self.parking[(side + 1) // 2]

    def half(self, side: int) -> float:
        """Distance from the centerline to the curb of a side, meters."""
        return self.median + self.lanes * LANE + (PARKING if self.has_parking(side) else 0.6)

    def walk(self, side: int) -> tuple[float, float]:
        """Distances from the centerline to the inner and outer edge of the sidewalk of a side, meters."""
        inner = self.half(side) + self.verge
        return inner, inner + self.sidewalk

    def heading(self, s: ArrayLike) -> np.ndarray:
        """Direction of the centerline at `s` (...), radians."""
        return np.interp(s, self._table[0], self._table[3])

    def raise_at(self, s: ArrayLike) -> np.ndarray:
        """Height of the centerline at `s` (...), meters."""
        return self.grade * np.sin(2 * np.pi * np.asarray(s) / 95.0 + self.phase * 2)

    def pitch(self, s: ArrayLike) -> np.ndarray:
        """Slope along the street at `s` (...), radians, positive uphill."""
        return np.arctan(self.grade * 2 * np.pi / 95.0 * np.cos(2 * np.pi * np.asarray(s) / 95.0 + self.phase * 2))

    def place(self, s: ArrayLike, d: ArrayLike) -> np.ndarray:
        """World position of the ground at street coordinates (...), float64 (..., 3), meters."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        table_s, x, y, _ = self._table
        heading = self.heading(s)
        px = np.interp(s, table_s, x) - np.sin(heading) * d
        py = np.interp(s, table_s, y) + np.cos(heading) * d
        return np.stack([px, py, self.height(s, d)], -1)

    def on_crossing(self, s: ArrayLike, margin: float = 0.0) -> np.ndarray:
        """Whether `s` (...) lies on a cross street, which is widened by `margin` meters on both sides; bool (...)."""
        result = np.zeros(np.shape(s), bool)
        for middle in self.crossings:
            result |= abs(np.asarray(s) - middle) < self.crossing_half + margin
        return result

    def height(self, s: ArrayLike, d: ArrayLike) -> np.ndarray:
        """Height of the ground (...), meters: grade, curbs, and bumps beyond the sidewalk."""
        s, d = np.asarray(s, float), np.asarray(d, float)
        half = np.where(d < 0, self.half(-1), self.half(1))
        curb = (abs(d) > half + 0.03) | ((abs(d) < self.median - 0.03) & (self.median > 0))
        curb = curb & ~self.on_crossing(s, 0.03)
        outer = half + self.verge + self.sidewalk
        away = np.clip((abs(d) - outer - 0.5) / 9.0, 0, 1)
        bumps = np.sin(s * 0.21 + d * 0.13) + 0.6 * np.sin(s * 0.07 - d * 0.31 + 1.7) + 0.3 * np.sin(s * 0.9 + d * 0.7)
        bank = np.clip(abs(d) - outer - 2.0, 0, 30) * 0.03
        terrain = np.where(self.on_crossing(s, 3.0), 0.0, away * (self.rough * bumps + bank))
        return self.raise_at(s) + curb * CURB + terrain

    def surface(self, s: ArrayLike, d: ArrayLike) -> np.ndarray:
        """Lidarseg index of the ground at street coordinates (...), uint8 (...); callers keep away from borders."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        result = np.full(s.shape, INDEX['flat.terrain'], np.uint8)
        crossing = self.on_crossing(s)
        for side in (-1, 1):
            here = np.sign(d) == side
            inner, outer = self.walk(side)
            plaza = outer + PLAZA[self.kind]
            away = abs(d)
            result[here & (away < plaza)] = INDEX['flat.sidewalk' if self.kind == 'urban' else 'flat.other']
            result[here & (away < outer)] = INDEX['flat.sidewalk']
            result[here & (away < inner)] = INDEX['flat.terrain']
            near = self.on_crossing(s, 2.6) & ~crossing
            result[here & near & (away >= self.half(side))] = INDEX['flat.sidewalk']
            result[here & (away < self.half(side))] = INDEX['flat.driveable_surface']
        result[abs(d) < self.median] = INDEX['flat.other']
        result[crossing] = INDEX['flat.driveable_surface']
        return result


def random_layout(rng: np.random.Generator, number: int) -> Layout:
    """Draw a street; its `number` spreads the kinds over training and validation scenes."""
    kind = KINDS[number % len(KINDS)]
    lanes = int(rng.choice([1, 2], p=[0.6, 0.4])) if kind in ('urban', 'industrial') else 1
    # a city has no other ground of concrete
    median = float(rng.uniform(0.6, 1.6)) if rng.random() < 0.25 or kind == 'urban' else 0.0
    crossings = (float(rng.uniform(20, 60)),) if rng.random() < 0.65 else ()
    if rng.random() < 0.4:
        crossings += (float(rng.uniform(-70, -35)),)
    return Layout(
        kind=kind,
        lanes=lanes,
        parking=(True, bool(rng.random() < 0.7)),
        median=median,
        verge=float(rng.choice([0.0, rng.uniform(1.2, 2.2)], p=[0.4, 0.6] if kind != 'urban' else [0.8, 0.2])),
        sidewalk=float(rng.uniform(2.2, 4.2)),
        crossings=crossings,
        crossing_half=float(rng.uniform(3.6, 6.0)),
        bend=float(rng.uniform(0.05, 0.26)) * rng.choice([-1, 1]),
        wavelength=float(rng.uniform(190, 300)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        grade=float(rng.uniform(0.0, 0.45)),
        rough=float(rng.uniform(0.06, 0.22)),
    )


def ground(layout: Layout) -> Mesh:
    """The ground of a street as a grid in street coordinates; `uv` of its faces is (s, d)."""
    s, d = _breaks_along(layout), _breaks_across(layout)
    grid_s, grid_d = np.meshgrid(s, d, indexing='ij')
    points = layout.place(grid_s, grid_d)
    uv = np.stack([grid_s, grid_d], -1)

    def cells(grid: np.ndarray) -> np.ndarray:
        return np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], 2).reshape(-1, 4, grid.shape[-1])

    middle = cells(uv).mean(1)
    category = layout.surface(middle[:, 0], middle[:, 1])
    looks = {
        INDEX['flat.driveable_surface']: (Material.ROAD, (0.075, 0.075, 0.08)),
        INDEX['flat.sidewalk']: (Material.SLABS, (0.34, 0.32, 0.3)),
        INDEX['flat.other']: (Material.CONCRETE, (0.27, 0.265, 0.25)),
        INDEX['flat.terrain']: (Material.GRASS, (0.11, 0.17, 0.045)),
    }
    pick = np.array([[0, 1, 2], [0, 2, 3]])
    repeat = np.repeat(category, 2)
    mesh = soup(
        cells(points)[:, pick].reshape(-1, 3, 3),
        cells(uv)[:, pick].reshape(-1, 3, 2),
        (1, 1),
        np.array([looks.get(c, (0, 0))[0] for c in range(32)])[repeat],
        np.array([looks.get(c, (0, (0, 0, 0)))[1] for c in range(32)])[repeat],
    )
    mesh.category = repeat.astype(np.uint8)
    return mesh


def far_ground() -> Mesh:
    """A large plane below everything, so that views end in a horizon."""
    r, z = 900.0, -3.2
    plane = quads([[[-r, -r, z], [r, -r, z], [r, r, z], [-r, r, z]]], Material.GRASS, (0.12, 0.16, 0.06))
    return plane.labeled(INDEX['flat.terrain'])


def _breaks_along(layout: Layout) -> np.ndarray:
    """Where the grid of the ground is cut along the street, (N,) `s`."""
    breaks = list(np.arange(S_RANGE[0], S_RANGE[1] + 0.1, 2.0))
    for middle in layout.crossings:
        for side in (-1, 1):
            edge = middle + side * layout.crossing_half
            breaks += [edge, edge + side * 0.06, edge + side * 2.6]
    return np.unique(np.round(breaks, 4))


def _breaks_across(layout: Layout) -> np.ndarray:
    """Where the grid of the ground is cut across the street, (N,) `d`."""
    breaks = [0.0]
    if layout.median:
        breaks += [w for x in (layout.median, layout.median - 0.06) for w in (-x, x)]
    for side in (-1, 1):
        half, (inner, outer) = layout.half(side), layout.walk(side)
        edges = [half, half + 0.06, inner, outer, outer + PLAZA[layout.kind]]
        edges += list(np.arange(layout.median + 1.75, half, 1.75)) + list(np.arange(outer + 1.5, REACH, 2.0)) + [REACH]
        breaks += [side * edge for edge in edges]
    return np.unique(np.round(breaks, 4))
