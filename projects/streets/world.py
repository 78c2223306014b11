"""What a scene consists of: street, things, background, light and weather; and a builder that collects them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streets.layout import Layout
from streets.mesh import Material, Mesh
from streets.objects.plants import bush, tree
from streets.taxonomy import INDEX

Build = Callable[[np.random.Generator], Mesh]


@dataclass
class Thing:
    """An object that gets a box.

    Attributes:
        category: nuScenes' category name.
        mesh: Faces in the object's frame, centered in x and y, bottom at z = 0.
        size: (width, length, height) in meters.
        s: Street coordinate at time 0, meters.
        d: Street coordinate at time 0, meters.
        speed: (along, across) the street in meters per second.
        turn: Yaw against the street's direction, radians.
        attribute: nuScenes' attribute name or '' (barriers, cones, ...).
        number: Instance number from 1.
    """

    category: str
    mesh: Mesh
    size: tuple[float, float, float]
    s: float
    d: float
    speed: tuple[float, float]
    turn: float
    attribute: str
    number: int = 0

    @property
    def moves(self) -> bool:
        """Whether the object moves."""
        return self.speed != (0.0, 0.0)

    def pose(self, layout: Layout, time: float) -> tuple[np.ndarray, float]:
        """Position (3,) of the bottom's center in the world, meters, and yaw, radians, at `time` seconds."""
        s, d = self.s + self.speed[0] * time, self.d + self.speed[1] * time
        return layout.place(s, d), float(layout.heading(s) + self.turn)


def poses(things: list[Thing], layout: Layout, time: float) -> tuple[np.ndarray, list[float]]:
    """`Thing.pose` of T objects at once: positions (T, 3), meters, and T yaws, radians, at `time` seconds."""
    s = np.array([thing.s + thing.speed[0] * time for thing in things], float)
    d = np.array([thing.d + thing.speed[1] * time for thing in things], float)
    turns = layout.heading(s) + np.array([thing.turn for thing in things], float)
    return layout.place(s, d), turns.tolist()


@dataclass
class Weather:
    """Light of a scene.

    Attributes:
        sun: float64 (3,), unit vector toward the sun.
        sunlight: Strength of the sun.
        skylight: Strength of the sky.
        haze: Distance at which haze hides about two thirds of the color, meters.
        clouds: Cloud cover in [0, 1].
        warmth: Tint of the sunlight, from bluish (< 0) to orange (1).
    """

    sun: np.ndarray
    sunlight: float
    skylight: float
    haze: float
    clouds: float
    warmth: float


@dataclass
class World:
    """A scene.

    Attributes:
        layout: The street.
        weather: Its light.
        static: Faces that never move, those of parked things included.
        things: All objects with boxes, moving or not.
        ego_d: Street coordinate of the ego vehicle's lane, meters.
        ego_speed: Meters per second.
    """

    layout: Layout
    weather: Weather
    static: Mesh
    things: list[Thing]
    ego_d: float
    ego_speed: float

    def ego_pose(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) of the ground below the rear axle, meters, and rotation (3, 3) ego2world, at `time` seconds."""
        s = self.ego_speed * time
        yaw, pitch = float(self.layout.heading(s)), -float(self.layout.pitch(s))
        sway = 0.004 * np.sin(2.1 * time + 0.5)
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        cr, sr = np.cos(sway), np.sin(sway)
        yaw_matrix = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        pitch_matrix = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        roll_matrix = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        return self.layout.place(s, self.ego_d), yaw_matrix @ pitch_matrix @ roll_matrix

    def moving(self) -> list[Thing]:
        """Objects whose faces are not part of `static`."""
        return [thing for thing in self.things if thing.moves]


class Builder:
    """Collects faces of the background and objects with boxes, placed by street coordinates.

    Args:
        layout: The street.
        rng: All draws of the scene come from it, in the order of the calls.
        number: Number of the scene.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator, number: int) -> None:
        self.layout, self.rng, self.number = layout, rng, number
        self.static: list[Mesh] = []
        self.things: list[Thing] = []
        ego = float(rng.uniform(4.5, 9.5)) if rng.random() < 0.85 else 1.5
        self._reserved: list[tuple[int, float, float]] = []
        self.lane_speed = {-1: ego, 1: float(rng.uniform(5.0, 10.0)) if rng.random() < 0.85 else 0.0}

    def reserve(self, side: int, start: float, end: float) -> None:
        """Keep parked vehicles out of the parking lane of a side, from `start` to `end` meters along the street."""
        self._reserved.append((side, start, end))

    def is_free(self, side: int, start: float, end: float) -> bool:
        """Whether nothing is reserved in the parking lane of a side, from `start` to `end` meters along the street."""
        return not any(side == s and start < high and end > low for s, low, high in self._reserved)

    def background(self, mesh: Mesh, name: str, s: float, d: float, turn: float = 0.0, sink: float = 0.0) -> None:
        """Put faces of a stuff category on the street, or `sink` meters below the ground."""
        position = self.layout.place(s, d) - (0, 0, sink)
        mesh = mesh.moved(position, float(self.layout.heading(s)) + turn).labeled(INDEX[name])
        leafy = np.isin(mesh.material, (Material.LEAVES, Material.BARK))
        mesh.category[leafy] = INDEX['static.vegetation']
        self.static.append(mesh)

    def thing(
        self,
        build: Build,
        category: str,
        s: float,
        d: float,
        turn: float = 0.0,
        speed: tuple[float, float] = (0.0, 0.0),
        attribute: str = '',
    ) -> None:
        """Put an object with a box on the street; its mesh is centered so that the box fits it exactly.

        The other arguments are those of `Thing`.
        """
        mesh = build(self.rng)
        low, high = mesh.bounds()
        mesh = mesh.moved((-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]))
        number = len(self.things) + 1
        mesh.labeled(INDEX[category], number)
        length, width, height = (float(v) for v in high - low)
        self.things.append(Thing(category, mesh, (width, length, height), s, d, speed, turn, attribute, number))

    def tree(self, s: float, d: float) -> None:
        """Plant a tree."""
        self._plant(tree(self.rng, self._fine(s, d)), s, d)

    def bush(self, s: float, d: float, sink: float = 0.0) -> None:
        """Plant a bush."""
        self._plant(bush(self.rng, self._fine(s, d)), s, d, sink)

    def _plant(self, mesh: Mesh, s: float, d: float, sink: float = 0.0) -> None:
        self.background(mesh, 'static.vegetation', s, d, self.rng.uniform(0, 2 * np.pi), sink)

    def _fine(self, s: float, d: float) -> bool:
        """Whether the ego vehicle comes near enough to see single leaves."""
        way = self.lane_speed[-1] * 4
        return -22 < s < way + 28 and abs(d) < 25


def choose(draw: float, table: tuple[tuple, ...]) -> tuple | None:
    """Choose from a table of rows `(ratio, *values)` by a draw from [0, 1).

    Returns:
        The values of the row, None for the ratio that is left over.
    """
    for ratio, *values in table:
        if draw < ratio:
            return tuple(values)
        draw -= ratio
    return None
