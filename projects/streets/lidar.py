"""Sweeps of a rotating lidar: returns with noise, dropouts and intensity, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streets.materials import appearance
from streets.mesh import Material
from streets.raycast import Hits, Snapshot
from streets.rig import REACH, Lidar, make_lidar
from streets.taxonomy import INDEX
from streets.vectors import dot

# lower and upper corner of the part of the ego vehicle that its own lidar sees, ego frame, meters
EGO_BODY = (np.array([-0.2, -0.56, 0.4]), np.array([1.5, 0.56, 1.5]))


@dataclass
class Sweep:
    """The N returns of one revolution.

    Attributes:
        points: float32 (N, 5), x, y, z in the lidar frame (meters), intensity in [0, 255], ring.
        category: uint8 (N,), lidarseg index.
        instance: int32 (N,), number of the object; 0 = background.
    """

    points: np.ndarray
    category: np.ndarray
    instance: np.ndarray


def take_sweep(snapshot: Snapshot, rng: np.random.Generator, lidar: Lidar | None = None) -> Sweep:
    """Fire all beams of a lidar at the snapshot's time.

    Args:
        snapshot: The world.
        rng: Draws noise and dropouts.
        lidar: nuScenes' by default.
    """
    lidar = lidar or make_lidar()
    position, rotation = lidar.world_pose(snapshot.world.ego_pose(snapshot.time))
    rays, ring = lidar.rays(rng.uniform(0, 0.006))
    directions = rays @ rotation.T.astype(np.float32)
    hits = snapshot.hit(position, directions)
    category, instance = snapshot.labels(hits)
    distance = hits.distance.copy()
    intensity, strength = np.zeros(len(rays), np.float32), np.zeros(len(rays), np.float32)
    rows = np.flatnonzero(hits.found & (distance < REACH[1]))
    near = Hits(hits.face[rows], distance[rows], hits.inner[rows])
    intensity[rows], strength[rows] = _returns(snapshot, near, directions[rows], rng)
    _own_body(rays @ lidar.rotation.T, lidar.position, distance, category, instance, intensity, strength, rng)
    return _collect(rays, ring, distance, category, instance, intensity, strength, rng)


def _returns(
    snapshot: Snapshot, near: Hits, directions: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Intensity in [0, 255] and strength in [0, 1], on which dropouts depend, of N hits; float32 (N,) each."""
    normal = snapshot.read('normal', near.face)
    slope = np.clip(abs(dot(normal, directions)), 0.05, 1)
    footprint = near.distance * 0.002
    surface = snapshot.surface(near, footprint, normal)
    material = snapshot.read('material', near.face)
    albedo, gloss, _ = appearance(material, surface)
    # infrared and visible reflectance of a coat of paint have little to do with each other
    infrared = 0.55 * albedo.mean(1) + 0.45 * (0.04 + 0.5 * surface.seed**2)
    infrared = np.where(np.isin(material, (Material.LEAVES, Material.GRASS)), infrared * 1.5, infrared)
    infrared = np.where(material == Material.SIGN, 0.9, infrared)
    infrared = infrared * (1 - 0.8 * np.clip(gloss - 0.3, 0, 1))
    gain = (0.35 + 0.65 * slope) * np.exp(-near.distance / 90.0)
    speckle = np.exp(rng.normal(scale=0.28, size=len(slope)))
    intensity = np.clip(190 * infrared * gain * speckle, 0, 255)
    strength = np.clip(infrared * gain * (1 - 0.75 * np.clip(gloss * 2 - 0.6, 0, 1)), 0, 1)
    return intensity.astype(np.float32), strength.astype(np.float32)


def _own_body(
    rays: np.ndarray,
    origin: np.ndarray,
    distance: np.ndarray,
    category: np.ndarray,
    instance: np.ndarray,
    intensity: np.ndarray,
    strength: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Let the vehicle's own roof stop the rays that meet it; arrays (N, ...) are changed in place."""
    with np.errstate(divide='ignore'):
        first = (EGO_BODY[0] - origin) / rays
        second = (EGO_BODY[1] - origin) / rays
    enter, leave = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
    own = (enter > 0) & (enter <= leave) & (enter < distance)
    distance[own] = enter[own]
    category[own], instance[own] = INDEX['vehicle.ego'], 0
    intensity[own] = np.clip(rng.gamma(2.0, 6.0, int(own.sum())), 0, 255)
    strength[own] = 0.3


def _collect(
    rays: np.ndarray,
    ring: np.ndarray,
    distance: np.ndarray,
    category: np.ndarray,
    instance: np.ndarray,
    intensity: np.ndarray,
    strength: np.ndarray,
    rng: np.random.Generator,
) -> Sweep:
    """Drop returns that are weak, too near or too far; add range noise and a few stray points."""
    count = len(rays)
    lost = 0.015 + 0.5 * np.exp(-strength / 0.022)
    keep = np.isfinite(distance) & (distance > REACH[0]) & (distance < REACH[1]) & (strength > 0)
    keep &= rng.random(count) > lost
    distance = (
        distance
        + rng.normal(scale=0.016, size=count)
        + rng.normal(scale=0.0002, size=count) * np.where(np.isfinite(distance), distance, 0)
    )
    stray = keep & (rng.random(count) < 0.0008)
    distance = np.where(stray, distance * rng.uniform(0.3, 0.95, count), distance)
    keep &= distance > REACH[0]
    category = np.where(stray, INDEX['noise'], category).astype(np.uint8)
    instance = np.where(stray, 0, instance)
    points = np.concatenate(
        [rays[keep] * distance[keep, None], np.rint(intensity[keep, None]), ring[keep, None]], 1
    ).astype(np.float32)
    return Sweep(points, category[keep], instance[keep].astype(np.int32))
