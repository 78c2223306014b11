"""Sweeps and range images whose content is known."""

from dataclasses import dataclass

import numpy as np
from peridot.drive_and_segment.proposals.range_image import RangeImage

ELEVATIONS = tuple(10.67 - 1.3335 * beam for beam in range(32))
HEIGHT = 1.8


@dataclass
class Scan:
    """Points (N, 5) of a sweep, the beam last; what they are of (0 is the ground); meters above the ground."""

    points: np.ndarray
    thing: np.ndarray
    above: np.ndarray


def scan(boxes, columns=540, height=HEIGHT, turn=0.0, tilt=None, elevations=ELEVATIONS) -> Scan:
    """Flat ground `height` below the lidar and boxes ((x, y, z) low corner, high corner), seen by ideal beams.

    `turn` shifts all azimuths in degrees, `tilt` (3, 3) takes the lidar's frame to the world's.
    """
    azimuth = np.pi - (np.arange(columns) + 0.5) * 2 * np.pi / columns
    elevation = np.deg2rad(elevations)
    beams = np.stack(
        [
            np.outer(np.cos(elevation), np.cos(azimuth)),
            np.outer(np.cos(elevation), np.sin(azimuth)),
            np.outer(np.sin(elevation), np.ones(columns)),
        ],
        -1,
    ).reshape(-1, 3)
    rotation = np.eye(3) if tilt is None else tilt
    rays = beams @ rotation.T
    with np.errstate(divide='ignore', invalid='ignore'):
        distance = np.where(rays[:, 2] < 0, -height / rays[:, 2], np.inf)
        thing = np.zeros(len(rays), int)
        for number, (low, high) in enumerate(boxes, 1):
            first, second = np.array(low) / rays, np.array(high) / rays
            enter, leave = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
            hit = (enter > 0) & (enter <= leave) & (enter < distance)
            distance[hit], thing[hit] = enter[hit], number
    back = distance < 90
    ring = np.repeat(np.arange(len(elevation)), columns)
    turned = np.deg2rad(turn)
    about_z = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    xyz = (beams[back] * distance[back, None]) @ about_z.T
    above = height + rays[back, 2] * distance[back]
    return Scan(np.column_stack([xyz, np.zeros(len(xyz)), ring[back]]), thing[back], above)


def wall(x, low, high, top, depth=0.3):
    """A box that faces the lidar at distance `x`, from y = low to high, up to z = top; it stands on the ground."""
    return (x, low, -HEIGHT), (x + depth, high, top)


def random_image(seed=0, rows=12, columns=20, holes=0.3) -> RangeImage:
    rng = np.random.default_rng(seed)
    ranges = rng.uniform(5, 7, (rows, columns)) * (rng.random((rows, columns)) > holes)
    nothing = np.zeros((rows, columns), bool)
    return RangeImage(
        ranges, np.linspace(0.2, -0.5, rows), np.zeros((0, 3)), np.zeros(0, int), np.full((rows, columns), -1), nothing
    )
