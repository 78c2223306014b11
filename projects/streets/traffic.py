"""What moves and parks on a street: pedestrians, vehicles, and what closes a parking lane."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from streets.layout import LANE, PARKING, Layout
from streets.objects import cycles, furniture, people, vehicles
from streets.world import Build, Builder, choose

# ratio: builder, category, length of the parking space in meters
PARKED = (
    (0.07, vehicles.truck, 'truck', 11.0),
    (0.06, vehicles.trailer, 'trailer', 14.5),
    (0.07, vehicles.van, 'car', 6.2),
    (0.07, cycles.motorcycle, 'motorcycle', 3.0),
    (0.02, vehicles.bus, 'bus.rigid', 14.0),
    (0.51, vehicles.car, 'car', 6.2),
)
FREE_SPACE = 6.2
# the same for driving vehicles
DRIVING = (
    (0.58, vehicles.car, 'car', 6.0),
    (0.14, vehicles.van, 'car', 6.5),
    (0.09, vehicles.truck, 'truck', 10.5),
    (0.05, vehicles.bus, 'bus.rigid', 13.5),
    (0.02, vehicles.bendy_bus, 'bus.bendy', 19.0),
    (0.06, cycles.motorcyclist, 'motorcycle', 4.0),
    (0.06, cycles.cyclist, 'bicycle', 4.0),
)
WAITING = ((0.7, vehicles.car, 'car'), (0.2, vehicles.truck, 'truck'), (0.1, vehicles.bus, 'bus.rigid'))
PEDESTRIANS = ((0.6, people.walking_adult, 'adult'), (0.25, people.adult, 'adult'), (0.15, people.child, 'child'))


def _draw(rng: np.random.Generator, table: tuple[tuple, ...]) -> tuple:
    """The values of a row drawn from a table of `(ratio, *values)`."""
    return table[rng.choice(len(table), p=[row[0] for row in table])][1:]


def add_pedestrians(builder: Builder, side: int) -> None:
    """Put people on the sidewalk of a side."""
    rng, layout = builder.rng, builder.layout
    inner, outer = layout.walk(side)
    low, high = inner + 1.1 - min(layout.verge, 0.6), outer - 1.1
    for s in np.arange(-60.0, 100.0, 3.6):
        if rng.random() > (0.42 if layout.kind == 'urban' else 0.25):
            continue
        build, name = _draw(rng, PEDESTRIANS)
        walking = build is not people.adult
        way = rng.choice([-1.0, 1.0])
        speed = (float(way * rng.uniform(0.8, 1.5)), 0.0) if walking else (0.0, 0.0)
        turn = (0.0 if way > 0 else np.pi) if walking else rng.uniform(-np.pi, np.pi)
        attribute = 'pedestrian.moving' if walking else 'pedestrian.standing'
        # each direction has its own track, so that people do not walk through each other
        d = side * (low + (high - low) * (0.15 if way < 0 else 0.6 if walking else 1.0))
        builder.thing(build, f'human.pedestrian.{name}', s, d + rng.normal(scale=0.1), turn, speed, attribute)


def add_parked(builder: Builder, side: int) -> None:
    """Park vehicles in the parking lane of a side, if it has one, around its bays."""
    rng, layout = builder.rng, builder.layout
    if not layout.has_parking(side):
        return
    d = _parking_lane(layout, side)
    heading = 0.0 if side < 0 else np.pi
    s = -95.0
    while s < 140:
        chosen = choose(rng.random(), PARKED)
        room = chosen[-1] if chosen else FREE_SPACE
        middle = s + room / 2
        if (
            chosen
            and not layout.on_crossing(np.array([s, middle, s + room]), 1.5).any()
            and builder.is_free(side, s, s + room)
        ):
            build, name, _ = chosen
            attribute = 'cycle.without_rider' if name == 'motorcycle' else 'vehicle.parked'
            turn = heading + rng.normal(scale=0.03)
            builder.thing(build, f'vehicle.{name}', middle, d + rng.normal(scale=0.08), turn, attribute=attribute)
        s += room


def add_traffic(builder: Builder, side: int) -> None:
    """Put vehicles on the lanes of a side.

    They have equal speeds, so that they do not collide; around the ego vehicle the lanes are empty.
    """
    rng, layout = builder.rng, builder.layout
    speed = -side * builder.lane_speed[side]
    for lane in range(layout.lanes):
        d = side * (layout.median + (lane + 0.5) * LANE)
        s = -90.0 + rng.uniform(0, 15)
        while s < 150:
            build, name, room = _draw(rng, DRIVING)
            middle = s + room / 2
            free = side > 0 or not (-13 - room / 2 < middle < 14 + room / 2)
            if free and rng.random() < 0.75:
                cycle = name in ('bicycle', 'motorcycle')
                state = 'moving' if speed else 'stopped'
                attribute = 'cycle.with_rider' if cycle else f'vehicle.{state}'
                turn = 0.0 if side < 0 else np.pi
                offset = rng.normal(scale=0.15) + (0.9 * side if cycle else 0)
                builder.thing(build, f'vehicle.{name}', middle, d + offset, turn, (speed, 0.0), attribute)
            s += room + rng.gamma(2.0, 5.0)


def _parking_lane(layout: Layout, side: int) -> float:
    """Street coordinate of the middle of the parking lane of a side, meters."""
    return side * (layout.half(side) - PARKING / 2)


def add_bays(builder: Builder) -> None:
    """Fill parking lanes beside the way of the ego vehicle with what is rare on other streets.

    Every scene has all of it, in any order, so that lidar and cameras see every class in every scene: small things on
    the side of the ego vehicle, the long ones that would hide them on the other side, or before and behind them.
    """
    start = -4.0
    end = _add_row(builder, -1, SMALL_BAYS, start)
    if builder.layout.has_parking(1):
        _add_row(builder, 1, LONG_BAYS, start - 8.0)
    else:
        first, *others = LONG_BAYS
        _add_row(builder, -1, [first], start - first[0] - 2.0)
        _add_row(builder, -1, others, end + 1.0)


def _add_row(builder: Builder, side: int, bays: Sequence[tuple], start: float) -> float:
    """Put bays into the parking lane of a side one after another, in any order; returns where the row ends."""
    end = start
    for index in builder.rng.permutation(len(bays)):
        length, add = bays[index]
        while builder.layout.on_crossing(np.linspace(end, end + length, 9), 1.5).any():
            end += 1.0
        builder.reserve(side, end, end + length)
        add(builder, side, end, end + length)
        end += length + 1.0
    return end


def _construction_site(builder: Builder, side: int, start: float, end: float) -> None:
    """Close the parking lane with barriers and cones, for an excavator and workers."""
    rng, half = builder.rng, builder.layout.half(side)
    lane, middle = side * (half - PARKING + 0.15), (start + end) / 2
    for s in np.arange(start + 1.0, middle, 2.1):
        builder.thing(furniture.barrier, 'movable_object.barrier', s, lane, np.pi / 2 + rng.normal(scale=0.05))
    cones = [(s, lane) for s in np.arange(middle, end, 1.0)]
    cones += [(s, side * (half - share * PARKING)) for s in (start, end) for share in (0.25, 0.5, 0.75)]
    for s, d in cones:
        builder.thing(furniture.cone, 'movable_object.trafficcone', s, d + rng.normal(scale=0.08), rng.uniform(0, 1.5))
    turn = rng.choice([0, np.pi]) + rng.normal(scale=0.06)
    excavator = vehicles.construction_vehicle, 'vehicle.construction'
    builder.thing(*excavator, middle, side * (half - 0.6), turn, attribute='vehicle.stopped')
    for s in (start + 1.5, end - 1.5):
        worker = people.worker, 'human.pedestrian.construction_worker'
        builder.thing(*worker, s, side * (half - 1.2), rng.uniform(-3, 3), attribute='pedestrian.standing')


def _cycles(build: Build, name: str, spacing: float, builder: Builder, side: int, start: float, end: float) -> None:
    """Put cycles across the parking lane, slanted the same way."""
    slant = builder.rng.uniform(-0.5, 0.5)
    for s in np.arange(start + spacing / 2, end, spacing):
        turn = np.pi / 2 + slant + builder.rng.normal(scale=0.08)
        d = _parking_lane(builder.layout, side)
        builder.thing(build, f'vehicle.{name}', s, d, turn, attribute='cycle.without_rider')


def _vehicle(build: Build, name: str, builder: Builder, side: int, start: float, end: float) -> None:
    """Park a long vehicle."""
    rng = builder.rng
    turn = (0.0 if side < 0 else np.pi) + rng.normal(scale=0.03)
    d = _parking_lane(builder.layout, side) + rng.normal(scale=0.08)
    builder.thing(build, f'vehicle.{name}', (start + end) / 2, d, turn, attribute='vehicle.parked')


# length in meters: what fills a part of a parking lane of this length
SMALL_BAYS = (
    (14.0, _construction_site),
    (6.0, partial(_cycles, cycles.bicycle, 'bicycle', 0.8)),
    (6.0, partial(_cycles, cycles.motorcycle, 'motorcycle', 1.2)),
)
LONG_BAYS = (
    (14.0, partial(_vehicle, vehicles.trailer, 'trailer')),
    (14.0, partial(_vehicle, vehicles.bus, 'bus.rigid')),
    (10.5, partial(_vehicle, vehicles.truck, 'truck')),
)


def add_crossings(builder: Builder) -> None:
    """Put traffic lights, people on crosswalks and waiting vehicles at the cross streets."""
    rng, layout = builder.rng, builder.layout
    for middle in layout.crossings:
        for side in (-1, 1):
            s = middle + side * (layout.crossing_half + 0.8)
            for across in (-1, 1):
                d = across * (layout.half(across) + 0.7)
                if rng.random() < 0.8:
                    turn = 0.0 if across < 0 else np.pi
                    builder.background(furniture.traffic_light(rng), 'static.manmade', s, d, turn)
            if rng.random() < 0.7 and middle > 0:
                d = float(rng.uniform(-0.8, 0.8) * layout.half(side))
                walk = float(rng.choice([-1.2, 1.2]))
                at = middle + side * (layout.crossing_half - 1.6)
                walker, turn = (people.walking_adult, 'human.pedestrian.adult'), np.pi / 2 * np.sign(walk)
                builder.thing(*walker, at, d, turn, (0.0, walk), 'pedestrian.moving')
        for side in (-1, 1):
            build, name = _draw(rng, WAITING)
            d = side * (layout.walk(side)[1] + rng.uniform(7, 14))
            lane = middle - side * layout.crossing_half * 0.45
            builder.thing(build, f'vehicle.{name}', lane, d, -side * np.pi / 2, attribute='vehicle.stopped')
