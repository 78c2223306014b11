"""Makes the world of a scene: a street, everything beside and on it, the ego vehicle's lane, light and weather."""

from __future__ import annotations

import numpy as np

from streets.layout import LANE, far_ground, ground, random_layout
from streets.mesh import merge
from streets.roadside import add_buildings, add_furniture, add_median, add_skyline, add_yards
from streets.traffic import add_bays, add_crossings, add_parked, add_pedestrians, add_traffic
from streets.world import Builder, Weather, World


def make_world(seed: int, number: int) -> World:
    """Make the world of a scene.

    Args:
        seed: Seed of the dataset.
        number: Number of the scene; equal arguments give an equal world.
    """
    rng = np.random.default_rng([seed, number, 7])
    layout = random_layout(rng, number)
    builder = Builder(layout, rng, number)
    _fill(builder)
    static = [ground(layout), far_ground(), *builder.static]
    for thing in builder.things:
        if not thing.moves:
            static.append(thing.mesh.moved(*thing.pose(layout, 0.0)))
    lane = int(rng.integers(layout.lanes))
    ego_d = -(layout.median + (lane + 0.5) * LANE)
    return World(layout, _weather(rng), merge(static), builder.things, ego_d, builder.lane_speed[-1])


def _fill(builder: Builder) -> None:
    """Put everything on the street, each side from the buildings inward; parked vehicles leave room for the bays."""
    add_bays(builder)
    for side in (-1, 1):
        for add in (add_buildings, add_yards, add_furniture, add_pedestrians, add_parked, add_traffic):
            add(builder, side)
    for add in (add_crossings, add_median, add_skyline):
        add(builder)


def _weather(rng: np.random.Generator) -> Weather:
    """Draw a clear or overcast sky."""
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
