"""One scene: a street with everything that stands and moves on it, the ego vehicle's way, light and weather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streets import buildings, objects
from streets.layout import LANE, PARKING, S_RANGE, Layout, far_ground, ground, random_layout
from streets.mesh import Material, Mesh, box, merge
from streets.objects import pick
from streets.taxonomy import INDEX


@dataclass
class Thing:
    """An object that gets a box.

    Attributes:
        category: nuScenes category name.
        mesh: faces in the object's frame, centred in x and y, bottom at z = 0.
        size: (width, length, height), metres.
        s, d: street coordinates at time 0.
        speed: (along, across) in metres a second.
        turn: yaw against the street's direction, radians.
        attribute: nuScenes attribute name or '' (barriers, cones, ...).
        number: instance number from 1.
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
        return self.speed != (0.0, 0.0)

    def pose(self, layout: Layout, time: float) -> tuple[np.ndarray, float]:
        """Position (3,) of the bottom's centre and yaw in the world at `time` seconds."""
        s, d = self.s + self.speed[0] * time, self.d + self.speed[1] * time
        return layout.place(s, d), float(layout.heading(s) + self.turn)


@dataclass
class Weather:
    """Light of a scene: sun direction (3,), sun and sky strength, haze distance in metres, clouds 0..1, warmth."""

    sun: np.ndarray
    sunlight: float
    skylight: float
    haze: float
    clouds: float
    warmth: float


@dataclass
class World:
    """A scene; `static` are the faces that never move, `things` all objects with boxes, moving ones or not."""

    layout: Layout
    weather: Weather
    static: Mesh
    things: list[Thing]
    ego_d: float
    ego_speed: float

    def ego_pose(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) of the rear axle's ground point and rotation (3, 3) ego -> world at `time` seconds."""
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


def make_world(seed: int, number: int) -> World:
    """The scene with this number of the dataset with this seed; equal arguments give an equal world."""
    rng = np.random.default_rng([seed, number, 7])
    layout = random_layout(rng, number)
    builder = _Builder(layout, rng, number)
    builder.fill()
    static = [ground(layout), far_ground(), *builder.static]
    for thing in builder.things:
        if not thing.moves:
            static.append(thing.mesh.moved(*thing.pose(layout, 0.0)))
    lane = int(rng.integers(layout.lanes))
    ego_d = -(layout.median + (lane + 0.5) * LANE)
    return World(layout, _weather(rng), merge(static), builder.things, ego_d, builder.lane_speed[-1])


def _weather(rng: np.random.Generator) -> Weather:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(24, 62))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    overcast = rng.random() < 0.3
    return Weather(
        sun=sun,
        sunlight=float(rng.uniform(0.7, 1.1) if overcast else rng.uniform(2.2, 3.0)),
        skylight=float(rng.uniform(1.1, 1.4) if overcast else rng.uniform(0.75, 1.0)),
        haze=float(rng.uniform(250, 900)),
        clouds=float(rng.uniform(0.7, 1.0) if overcast else rng.uniform(0.1, 0.6)),
        warmth=float(rng.uniform(-0.3, 1.0) * (np.sin(elevation) < 0.7)),
    )


class _Builder:
    """Fills a street; collects faces of the background and objects with boxes."""

    def __init__(self, layout: Layout, rng: np.random.Generator, number: int) -> None:
        self.layout, self.rng, self.number = layout, rng, number
        self.static: list[Mesh] = []
        self.things: list[Thing] = []
        ego = float(rng.uniform(4.5, 9.5)) if rng.random() < 0.85 else 1.5
        self.lane_speed = {-1: ego, 1: float(rng.uniform(5.0, 10.0)) if rng.random() < 0.85 else 0.0}

    def fill(self) -> None:
        """Everything, from the houses inwards."""
        for side in (-1, 1):
            self._buildings(side)
            self._yards(side)
            self._furniture(side)
            self._pedestrians(side)
            self._parked(side)
            self._traffic(side)
        self._works()
        self._crossings()
        self._median()
        self._skyline()

    def background(self, mesh: Mesh, name: str, s: float, d: float, turn: float = 0.0, sink: float = 0.0) -> None:
        """Put faces of a stuff category at street coordinates."""
        position = self.layout.place(s, d) - (0, 0, sink)
        mesh = mesh.moved(position, float(self.layout.heading(s)) + turn).labelled(INDEX[name])
        leafy = np.isin(mesh.material, (Material.LEAVES, Material.BARK))
        mesh.category[leafy] = INDEX['static.vegetation']
        self.static.append(mesh)

    def thing(
        self,
        build: Callable[[np.random.Generator], Mesh],
        category: str,
        s: float,
        d: float,
        turn: float = 0.0,
        speed: tuple[float, float] = (0.0, 0.0),
        attribute: str = '',
    ) -> None:
        """Put an object with a box at street coordinates; its mesh is centred so that the box fits it exactly."""
        mesh = build(self.rng)
        low, high = mesh.bounds()
        mesh = mesh.moved((-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]))
        number = len(self.things) + 1
        mesh.labelled(INDEX[category], number)
        length, width, height = (float(v) for v in high - low)
        self.things.append(Thing(category, mesh, (width, length, height), s, d, speed, turn, attribute, number))

    def _buildings(self, side: int) -> None:
        rng, kind = self.rng, self.layout.kind
        outer = self.layout.walk(side)[1]
        s = S_RANGE[0] + rng.uniform(0, 10)
        while s < S_RANGE[1] - 10:
            width, depth, gap, setback = {
                'urban': (rng.uniform(9, 22), rng.uniform(10, 16), rng.choice([0.0, 0.0, 3.0]), rng.uniform(0.2, 3.5)),
                'suburb': (rng.uniform(8, 13), rng.uniform(8, 11), rng.uniform(5, 13), rng.uniform(5, 10)),
                'industrial': (rng.uniform(20, 38), rng.uniform(15, 25), rng.uniform(6, 16), rng.uniform(9, 16)),
                'park': (rng.uniform(9, 18), rng.uniform(8, 12), rng.uniform(20, 50), rng.uniform(14, 30)),
            }[kind]
            middle = s + width / 2
            if not self.layout.on_crossing(np.linspace(s, s + width, 9), 3.2).any():
                build = {
                    'urban': buildings.block,
                    'suburb': buildings.house,
                    'industrial': buildings.hall,
                    'park': buildings.house,
                }[kind]
                mesh = build(rng, width, depth)
                d = side * (outer + setback + depth / 2)
                self.background(mesh, 'static.manmade', middle, d, np.pi if side > 0 else 0.0)
            s += width + gap

    def _yards(self, side: int) -> None:
        rng, kind = self.rng, self.layout.kind
        outer = self.layout.walk(side)[1]
        if kind == 'urban':
            return
        trees = {'suburb': 26, 'park': 48, 'industrial': 12}[kind]
        start = outer + (15 if kind == 'industrial' else 1.6)
        for _ in range(trees):
            s, d = rng.uniform(-80, 130), start + rng.gamma(1.6, 5.0 if kind == 'park' else 3.0)
            if d < 60 and not self.layout.on_crossing(s, 4):
                self._plant(objects.tree(rng, self._fine(s, d)), s, side * d)
        for _ in range(trees):
            s, d = rng.uniform(-60, 110), start - 0.6 + rng.gamma(1.3, 3.5)
            if d < 50 and not self.layout.on_crossing(s, 3):
                self._plant(objects.bush(rng, self._fine(s, d)), s, side * d, 0.1)
        for s in np.arange(-90, 140, 7.0):
            if rng.random() < 0.45 and not self.layout.on_crossing(s, 7.0):
                leafy = rng.random() < 0.5
                length = rng.uniform(4, 6.5)
                mesh = objects.hedge(rng, length) if leafy else objects.fence(rng, length)
                name = 'static.vegetation' if leafy else 'static.manmade'
                self.background(mesh, name, s, side * (outer + 0.7), sink=0.1)

    def _fine(self, s: float, d: float) -> bool:
        """Whether the ego vehicle comes near enough to see single leaves."""
        way = self.lane_speed[-1] * 4
        return -22 < s < way + 28 and abs(d) < 25

    def _plant(self, mesh: Mesh, s: float, d: float, sink: float = 0.0) -> None:
        self.background(mesh, 'static.vegetation', s, d, self.rng.uniform(0, 2 * np.pi), sink)

    def _furniture(self, side: int) -> None:
        """The strip beside the curb and the strip beside the houses, in slots that do not overlap."""
        rng, layout = self.rng, self.layout
        outer = layout.walk(side)[1]
        strip = layout.half(side) + (layout.verge / 2 if layout.verge else 0.55)
        facing = np.pi if side > 0 else 0.0  # right-hand traffic sees signs that face against it
        to_street = 0.0 if side < 0 else np.pi
        for number, s in enumerate(np.arange(-100.0, 150.0, 3.4)):
            s = s + rng.uniform(-0.4, 0.4)
            if layout.on_crossing(s, 3.0):
                continue
            if number % 9 == 4:
                self.background(objects.street_light(rng), 'static.manmade', s, side * strip, to_street)
                continue
            draw = rng.random()
            if draw < 0.2:
                self._plant(objects.tree(rng, self._fine(s, strip)), s, side * strip)
            elif draw < 0.27:
                self.background(objects.sign(rng), 'static.manmade', s, side * strip, facing)
            elif draw < 0.31:
                self.background(objects.cabinet(rng), 'static.manmade', s, side * strip)
            elif draw < 0.36:
                self.background(objects.bollard(rng), 'static.manmade', s, side * strip)
            elif draw < 0.42:
                self.thing(objects.bin_, 'movable_object.pushable_pullable', s, side * strip, rng.uniform(-0.3, 0.3))
            elif draw < 0.52:
                build, name = [(objects.bicycle, 'bicycle'), (objects.motorcycle, 'motorcycle')][rng.integers(2)]
                turn = rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(scale=0.15)
                at = side * (strip + 0.5)
                self.thing(build, f'vehicle.{name}', s, at, turn, attribute='cycle.without_rider')
            elif draw < 0.55:
                self._plant(objects.bush(rng, self._fine(s, strip)), s, side * strip)
        for s in np.arange(-90.0, 140.0, 9.0):
            s = s + rng.uniform(-2, 2)
            draw, wall = rng.random(), side * (outer - 0.55)
            if layout.on_crossing(s, 4.0):
                continue
            if draw < 0.15:
                self.background(objects.bench(rng), 'static.manmade', s, wall, to_street)
            elif draw < 0.24:
                self.thing(objects.bicycle_rack, 'static_object.bicycle_rack', s, wall)
            elif draw < 0.32:
                self.thing(objects.debris, 'movable_object.debris', s, wall)
            elif draw < 0.38 and layout.sidewalk > 3:
                self.background(objects.shelter(rng), 'static.manmade', s, side * (outer - 1.0), to_street)
            elif draw < 0.55:
                self.thing(
                    objects.bicycle, 'vehicle.bicycle', s, wall, rng.normal(scale=0.2), attribute='cycle.without_rider'
                )

    def _pedestrians(self, side: int) -> None:
        rng, layout = self.rng, self.layout
        inner, outer = layout.walk(side)
        low, high = inner + 1.1 - min(layout.verge, 0.6), outer - 1.1
        kinds = ((objects.walking_adult, 'adult'), (objects.adult, 'adult'), (objects.child, 'child'))
        for s in np.arange(-60.0, 100.0, 3.6):
            if rng.random() > (0.42 if layout.kind == 'urban' else 0.25):
                continue
            build, name = kinds[rng.choice(3, p=[0.6, 0.25, 0.15])]
            walking = build is not objects.adult
            way = rng.choice([-1.0, 1.0])
            speed = (float(way * rng.uniform(0.8, 1.5)), 0.0) if walking else (0.0, 0.0)
            turn = (0.0 if way > 0 else np.pi) if walking else rng.uniform(-np.pi, np.pi)
            attribute = 'pedestrian.moving' if walking else 'pedestrian.standing'
            # each direction has its own track, so that people do not walk through each other
            d = side * (low + (high - low) * (0.15 if way < 0 else 0.6 if walking else 1.0))
            self.thing(build, f'human.pedestrian.{name}', s, d + rng.normal(scale=0.1), turn, speed, attribute)

    def _parked(self, side: int) -> None:
        rng, layout = self.rng, self.layout
        if not layout.parking[(side + 1) // 2]:
            return
        d = side * (layout.half(side) - PARKING / 2)
        heading = 0.0 if side < 0 else np.pi
        s = -95.0
        while s < 140:
            draw = rng.random()
            build, name, room = objects.car, 'vehicle.car', 6.2
            if draw < 0.07:
                build, name, room = objects.truck, 'vehicle.truck', 11.0
            elif draw < 0.13:
                build, name, room = objects.trailer, 'vehicle.trailer', 14.5
            elif draw < 0.2:
                build = objects.van
            elif draw < 0.27:
                build, name, room = objects.motorcycle, 'vehicle.motorcycle', 3.0
            elif draw < 0.29:
                build, name, room = objects.bus, 'vehicle.bus.rigid', 14.0
            middle = s + room / 2
            if (
                draw < 0.8
                and not layout.on_crossing(np.array([s, middle, s + room]), 1.5).any()
                and not self._works_here(side, s, s + room)
            ):
                attribute = 'cycle.without_rider' if name == 'vehicle.motorcycle' else 'vehicle.parked'
                turn = heading + rng.normal(scale=0.03)
                self.thing(build, name, middle, d + rng.normal(scale=0.08), turn, attribute=attribute)
            s += room

    def _traffic(self, side: int) -> None:
        """Vehicles of one direction: equal speed within a lane, hence no collisions; the ego lane keeps a gap."""
        rng, layout = self.rng, self.layout
        kinds = (
            (objects.car, 'car', 6.0),
            (objects.van, 'car', 6.5),
            (objects.truck, 'truck', 10.5),
            (objects.bus, 'bus.rigid', 13.5),
            (objects.bendy_bus, 'bus.bendy', 19.0),
            (objects.motorcyclist, 'motorcycle', 4.0),
            (objects.cyclist, 'bicycle', 4.0),
        )
        speed = -side * self.lane_speed[side]
        for lane in range(layout.lanes):
            d = side * (layout.median + (lane + 0.5) * LANE)
            s = -90.0 + rng.uniform(0, 15)
            while s < 150:
                build, name, room = kinds[rng.choice(7, p=[0.5, 0.12, 0.13, 0.1, 0.03, 0.06, 0.06])]
                middle = s + room / 2
                free = side > 0 or not (-13 - room / 2 < middle < 14 + room / 2)
                if free and rng.random() < 0.75:
                    cycle = name in ('bicycle', 'motorcycle')
                    state = 'moving' if speed else 'stopped'
                    attribute = 'cycle.with_rider' if cycle else f'vehicle.{state}'
                    turn = 0.0 if side < 0 else np.pi
                    offset = rng.normal(scale=0.15) + (0.9 * side if cycle else 0)
                    self.thing(build, f'vehicle.{name}', middle, d + offset, turn, (speed, 0.0), attribute)
                s += room + rng.gamma(2.0, 5.0)

    def _works_here(self, side: int, low: float, high: float) -> bool:
        start, end, where = self._works_zone()
        return where == side and low < end + 1 and high > start - 1

    def _works_zone(self) -> tuple[float, float, int]:
        """A construction site in the parking lane: (start, end, side); side 0 = none."""
        draw = np.random.default_rng([self.number, 99, int(self.layout.wavelength * 1000)])
        start = draw.uniform(-5, 30)
        side = int(draw.choice([-1, 1]))
        has_room = self.layout.parking[(side + 1) // 2] and draw.random() < 0.75
        return start, start + draw.uniform(16, 28), side if has_room else 0

    def _works(self) -> None:
        rng, layout = self.rng, self.layout
        start, end, side = self._works_zone()
        if not side:
            return
        half = layout.half(side)
        lane = side * (half - PARKING + 0.15)
        for s in np.arange(start, end, 2.5):
            if layout.on_crossing(s, 1.0):
                continue
            if (s - start) // 10 % 2:
                self.thing(objects.barrier, 'movable_object.barrier', s, lane, np.pi / 2 + rng.normal(scale=0.05))
            else:
                self.thing(
                    objects.cone, 'movable_object.trafficcone', s, lane + rng.normal(scale=0.1), rng.uniform(0, 1.5)
                )
        for _ in range(rng.integers(2, 6)):
            self.thing(objects.cone, 'movable_object.trafficcone', rng.uniform(start, end), side * (half - 0.4))
        middle = (start + end) / 2
        if not layout.on_crossing(middle, 4):
            self.thing(
                objects.construction_vehicle,
                'vehicle.construction',
                middle,
                side * (half - 0.6),
                rng.choice([0, np.pi]) + rng.normal(scale=0.06),
                attribute='vehicle.stopped',
            )
        for s in (start + 1.5, end - 1.5):
            self.thing(
                objects.worker,
                'human.pedestrian.construction_worker',
                s,
                side * (half - 1.2),
                rng.uniform(-3, 3),
                attribute='pedestrian.standing',
            )

    def _crossings(self) -> None:
        rng, layout = self.rng, self.layout
        for middle in layout.crossings:
            for side in (-1, 1):
                s = middle + side * (layout.crossing_half + 0.8)
                for across in (-1, 1):
                    d = across * (layout.half(across) + 0.7)
                    if rng.random() < 0.8:
                        self.background(
                            objects.traffic_light(rng), 'static.manmade', s, d, 0.0 if across < 0 else np.pi
                        )
                if rng.random() < 0.7 and middle > 0:
                    d = float(rng.uniform(-0.8, 0.8) * layout.half(side))
                    walk = float(rng.choice([-1.2, 1.2]))
                    at = middle + side * (layout.crossing_half - 1.6)
                    turn = np.pi / 2 * np.sign(walk)
                    self.thing(
                        objects.walking_adult, 'human.pedestrian.adult', at, d, turn, (0.0, walk), 'pedestrian.moving'
                    )
            for side in (-1, 1):
                build, name = [(objects.car, 'car'), (objects.truck, 'truck'), (objects.bus, 'bus.rigid')][
                    rng.choice(3, p=[0.7, 0.2, 0.1])
                ]
                d = side * (layout.walk(side)[1] + rng.uniform(7, 14))
                lane = middle - side * layout.crossing_half * 0.45
                self.thing(build, f'vehicle.{name}', lane, d, -side * np.pi / 2, attribute='vehicle.stopped')

    def _median(self) -> None:
        rng, layout = self.rng, self.layout
        if layout.median < 0.7:
            return
        for s in np.arange(-90, 140, 5.0):
            draw = rng.random()
            if layout.on_crossing(s, 2.0):
                continue
            if draw < 0.3:
                self._plant(objects.bush(rng, self._fine(s, 0.0)), s, 0.0)
            elif draw < 0.4 and layout.median > 1.0:
                self._plant(objects.tree(rng, self._fine(s, 0.0)), s, 0.0)
            elif draw < 0.5:
                self.background(objects.sign(rng), 'static.manmade', s, 0.0, 0.0)

    def _skyline(self) -> None:
        """Towers and woods beyond the lidar's reach, for the cameras."""
        rng = self.rng
        for angle in np.arange(0, 2 * np.pi, 0.14):
            distance = rng.uniform(210, 380)
            at = np.array([30 + distance * np.cos(angle), distance * np.sin(angle), -3.2])
            if rng.random() < 0.55:
                size = rng.uniform((14, 14, 10), (40, 30, 60 if self.layout.kind == 'urban' else 26))
                mesh = box(size, (0, 0, size[2] / 2), Material.FACADE, pick(rng, buildings.PLASTERS))
                self.static.append(mesh.moved(at, angle).labelled(INDEX['static.manmade']))
            else:
                size = rng.uniform((4, 30, 8), (8, 60, 16))
                mesh = box(size, (0, 0, size[2] / 2 - 2), Material.LEAVES, pick(rng, ((0.07, 0.14, 0.05),)))
                self.static.append(mesh.moved(at, angle).labelled(INDEX['static.vegetation']))
