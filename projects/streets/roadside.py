"""What stands beside the lanes: buildings, gardens, street furniture, the median, and a skyline."""

from __future__ import annotations

import numpy as np

from streets.layout import S_RANGE
from streets.mesh import Material
from streets.objects import buildings, cycles, furniture, plants
from streets.objects.parts import pick
from streets.shapes import box
from streets.taxonomy import INDEX
from streets.world import Build, Builder, choose


def add_buildings(builder: Builder, side: int) -> None:
    """Put a row of buildings behind the sidewalk of a side."""
    rng, layout = builder.rng, builder.layout
    build = {'urban': buildings.block, 'industrial': buildings.hall}.get(layout.kind, buildings.house)
    outer = layout.walk(side)[1]
    s = S_RANGE[0] + rng.uniform(0, 10)
    while s < S_RANGE[1] - 10:
        width, depth, gap, setback = {
            'urban': (rng.uniform(9, 22), rng.uniform(10, 16), rng.choice([0.0, 0.0, 3.0]), rng.uniform(0.2, 3.5)),
            'suburb': (rng.uniform(8, 13), rng.uniform(8, 11), rng.uniform(5, 13), rng.uniform(5, 10)),
            'industrial': (rng.uniform(20, 38), rng.uniform(15, 25), rng.uniform(6, 16), rng.uniform(9, 16)),
            'park': (rng.uniform(9, 18), rng.uniform(8, 12), rng.uniform(20, 50), rng.uniform(14, 30)),
        }[layout.kind]
        middle = s + width / 2
        if not layout.on_crossing(np.linspace(s, s + width, 9), 3.2).any():
            d = side * (outer + setback + depth / 2)
            builder.background(build(rng, width, depth), 'static.manmade', middle, d, _inward(side))
        s += width + gap


def add_yards(builder: Builder, side: int) -> None:
    """Put trees, bushes, hedges and fences around the buildings of a side, except in a city."""
    rng, kind, on_crossing = builder.rng, builder.layout.kind, builder.layout.on_crossing
    outer = builder.layout.walk(side)[1]
    if kind == 'urban':
        return
    trees = {'suburb': 26, 'park': 48, 'industrial': 12}[kind]
    start = outer + (15 if kind == 'industrial' else 1.6)
    for _ in range(trees):
        s, d = rng.uniform(-80, 130), start + rng.gamma(1.6, 5.0 if kind == 'park' else 3.0)
        if d < 60 and not on_crossing(s, 4):
            builder.tree(s, side * d)
    for _ in range(trees):
        s, d = rng.uniform(-60, 110), start - 0.6 + rng.gamma(1.3, 3.5)
        if d < 50 and not on_crossing(s, 3):
            builder.bush(s, side * d, 0.1)
    for s in np.arange(-90, 140, 7.0):
        if rng.random() < 0.45 and not on_crossing(s, 7.0):
            leafy = rng.random() < 0.5
            length = rng.uniform(4, 6.5)
            mesh = plants.hedge(rng, length) if leafy else furniture.fence(rng, length)
            name = 'static.vegetation' if leafy else 'static.manmade'
            builder.background(mesh, name, s, side * (outer + 0.7), sink=0.1)


def add_furniture(builder: Builder, side: int) -> None:
    """Fill the strips beside the curb and beside the buildings of a side, in slots that do not overlap."""
    rng, layout = builder.rng, builder.layout
    curb = side * (layout.half(side) + (layout.verge / 2 if layout.verge else 0.55))
    for number, s in enumerate(np.arange(-100.0, 150.0, 3.4)):
        s = s + rng.uniform(-0.4, 0.4)
        if layout.on_crossing(s, 3.0):
            continue
        if number % 9 == 4:
            _fixture(builder, s, curb, side, furniture.street_light)
        elif chosen := choose(rng.random(), CURB):
            put, *build = chosen
            put(builder, s, curb, side, *build)
    wall = side * (layout.walk(side)[1] - 0.55)
    for s in np.arange(-90.0, 140.0, 9.0):
        s = s + rng.uniform(-2, 2)
        chosen = choose(rng.random(), WALL)
        if chosen and not layout.on_crossing(s, 4.0):
            put, *build = chosen
            put(builder, s, wall, side, *build)


def add_median(builder: Builder) -> None:
    """Put plants and signs on the raised strip in the middle of the street."""
    rng, layout = builder.rng, builder.layout
    if layout.median < 0.7:
        return
    for s in np.arange(-90, 140, 5.0):
        draw = rng.random()
        if layout.on_crossing(s, 2.0):
            continue
        if draw < 0.3:
            builder.bush(s, 0.0)
        elif draw < 0.4 and layout.median > 1.0:
            builder.tree(s, 0.0)
        elif draw < 0.5:
            builder.background(furniture.sign(rng), 'static.manmade', s, 0.0, 0.0)


def add_skyline(builder: Builder) -> None:
    """Put towers and woods beyond the lidar's reach, for the cameras."""
    rng = builder.rng
    for angle in np.arange(0, 2 * np.pi, 0.14):
        distance = rng.uniform(210, 380)
        at = np.array([30 + distance * np.cos(angle), distance * np.sin(angle), -3.2])
        if rng.random() < 0.55:
            size = rng.uniform((14, 14, 10), (40, 30, 60 if builder.layout.kind == 'urban' else 26))
            mesh = box(size, (0, 0, size[2] / 2), Material.FACADE, pick(rng, buildings.PLASTERS))
            name = 'static.manmade'
        else:
            size = rng.uniform((4, 30, 8), (8, 60, 16))
            mesh = box(size, (0, 0, size[2] / 2 - 2), Material.LEAVES, pick(rng, ((0.07, 0.14, 0.05),)))
            name = 'static.vegetation'
        builder.static.append(mesh.moved(at, angle).labeled(INDEX[name]))


def _inward(side: int) -> float:
    """Turn of what faces the street, and of signs, which face the traffic of their side; radians."""
    return np.pi if side > 0 else 0.0


def _fixture(builder: Builder, s: float, d: float, side: int, build: Build) -> None:
    builder.background(build(builder.rng), 'static.manmade', s, d, _inward(side))


def _post(builder: Builder, s: float, d: float, side: int, build: Build) -> None:
    """Put what looks alike from all sides."""
    builder.background(build(builder.rng), 'static.manmade', s, d)


def _tree(builder: Builder, s: float, d: float, side: int) -> None:
    builder.tree(s, d)


def _bush(builder: Builder, s: float, d: float, side: int) -> None:
    builder.bush(s, d)


def _trash_can(builder: Builder, s: float, d: float, side: int) -> None:
    turn = builder.rng.uniform(-0.3, 0.3)
    builder.thing(furniture.trash_can, 'movable_object.pushable_pullable', s, d, turn)


def _parked_cycle(builder: Builder, s: float, d: float, side: int) -> None:
    rng = builder.rng
    build, name = [(cycles.bicycle, 'bicycle'), (cycles.motorcycle, 'motorcycle')][rng.integers(2)]
    turn = rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(scale=0.15)
    builder.thing(build, f'vehicle.{name}', s, d + 0.5 * side, turn, attribute='cycle.without_rider')


def _bicycle(builder: Builder, s: float, d: float, side: int) -> None:
    turn = builder.rng.normal(scale=0.2)
    builder.thing(cycles.bicycle, 'vehicle.bicycle', s, d, turn, attribute='cycle.without_rider')


def _bicycle_rack(builder: Builder, s: float, d: float, side: int) -> None:
    builder.thing(furniture.bicycle_rack, 'static_object.bicycle_rack', s, d)


def _debris(builder: Builder, s: float, d: float, side: int) -> None:
    builder.thing(furniture.debris, 'movable_object.debris', s, d)


def _shelter(builder: Builder, s: float, d: float, side: int) -> None:
    """Put a bus shelter where the sidewalk is wide enough, a bicycle elsewhere."""
    if builder.layout.sidewalk > 3:
        _fixture(builder, s, side * (builder.layout.walk(side)[1] - 1.0), side, furniture.shelter)
    else:
        _bicycle(builder, s, d, side)


# fraction of the slots beside the curb and beside the buildings: what stands there; the rest is empty
CURB = (
    (0.2, _tree),
    (0.07, _fixture, furniture.sign),
    (0.04, _post, furniture.cabinet),
    (0.05, _post, furniture.bollard),
    (0.06, _trash_can),
    (0.1, _parked_cycle),
    (0.03, _bush),
)
WALL = (
    (0.15, _fixture, furniture.bench),
    (0.09, _bicycle_rack),
    (0.08, _debris),
    (0.06, _shelter),
    (0.17, _bicycle),
)
