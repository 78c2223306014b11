"""The ground in a range image: flat cells that are connected to the lowest ones, and a plane through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from peridot.drive_and_segment.proposals.clusters import grid_components
from peridot.drive_and_segment.proposals.range_image import RangeImage

# Savitzky-Golay filter, window 5, order 2
SMOOTHING = np.array([-3, 12, 17, 12, -3]) / 35


@dataclass(frozen=True)
class GroundRule:
    """Settings of finding the ground.

    Attributes:
        seed_angle: Largest inclination of the lowest cell of a column that ground grows from, in degrees.
        step_angle: Ground grows to neighbors whose inclination differs by less, in degrees.
        tolerance: Cells nearer than this to the plane, or below it, are ground too, in meters.
        climb: Level cells up to this height above the plane are ground, higher ones are not, in meters.
        reach: The plane is fitted to cells within this range, in meters.
        tries: Number of planes through three random cells that are tried.
        seed: Seed of the draws.
    """

    seed_angle: float = 30.0
    step_angle: float = 5.0
    tolerance: float = 0.1
    climb: float = 0.3
    reach: float = 40.0
    tries: int = 500
    seed: int = 0


def find_ground(image: RangeImage, rule: GroundRule) -> np.ndarray:
    """Find the cells that are ground.

    Args:
        image: Range image with filled gaps.
        rule: The angles and distances.

    Returns:
        Bool (R, W); also empty cells between an upper and a lower neighbor that are ground.
    """
    known, positions = image.range > 0, image.positions()
    angles = inclinations(positions, known)
    ground = _grown(angles, known, rule)
    near = ground & (image.range < rule.reach) & ~image.repaired
    plane = fit_plane(positions[near], rule)
    if plane is not None:
        height = positions @ plane[:3] + plane[3]
        # a curb stops the growth, but level cells behind it are ground as well
        level = ground | (abs(angles) < rule.step_angle)
        ground = known & ((height <= rule.tolerance) | (level & (height <= rule.climb)))
    between = np.zeros_like(ground)
    between[1:-1] = ground[:-2] & ground[2:] & ~known[1:-1]
    return ground | between


def inclinations(positions: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Inclination of the line from each cell to the one above, smoothed along the columns, in degrees.

    `alpha = atan2(|dz|, |dh|)` with h the distance from the sensor's axis; zero where one of the cells is empty.

    Args:
        positions: Float (R, W, 3), meters, relative to the sensor.
        known: Bool (R, W), cells with a range.
    """
    horizontal, z = np.hypot(positions[..., 0], positions[..., 1]), positions[..., 2]
    angles = np.zeros(z.shape)
    line = np.arctan2(abs(np.diff(z, axis=0)), abs(np.diff(horizontal, axis=0)))
    angles[1:] = np.where(known[1:] & known[:-1], np.rad2deg(line), 0)
    return convolve1d(angles, SMOOTHING, axis=0, mode='nearest')


def _grown(angles: np.ndarray, known: np.ndarray, rule: GroundRule) -> np.ndarray:
    """Components of similar inclination that contain the flat lowest cell of some column."""
    similar_right = abs(angles - np.roll(angles, -1, 1)) < rule.step_angle
    similar_down = abs(np.diff(angles, axis=0)) < rule.step_angle
    component = grid_components(known, similar_right, similar_down)
    lowest = len(known) - 1 - known[::-1].argmax(0)
    columns = np.flatnonzero(known.any(0) & (np.take_along_axis(angles, lowest[None], 0)[0] <= rule.seed_angle))
    seeds = np.unique(component[lowest[columns], columns])
    is_ground = np.zeros(component.max() + 2, bool)
    is_ground[seeds] = True
    # the last entry, of component -1, stays False
    return is_ground[component]


def fit_plane(points: np.ndarray, rule: GroundRule, sample: int = 1000) -> np.ndarray | None:
    """Fit the plane with the most points within `rule.tolerance`, refined on these.

    Args:
        points: Float (N, 3), meters.
        rule: Tolerance, largest slope (`seed_angle`), tries and seed.
        sample: Largest number of points that decide which plane is best.

    Returns:
        Float (4,), a, b, c, d with a x + b y + c z + d the height above the plane; None if no plane is found.
    """
    if len(points) < 3:
        return None
    rng = np.random.default_rng(rule.seed)
    judges = points[rng.permutation(len(points))[:sample]]
    first, second, third = points[rng.integers(len(points), size=(3, rule.tries))]
    normal = np.cross(second - first, third - first)
    length = np.linalg.norm(normal, axis=1)
    flat = abs(normal[:, 2]) > np.cos(np.deg2rad(rule.seed_angle)) * length
    if not flat.any():
        return None
    normal, first = normal[flat] / length[flat, None], first[flat]
    heights = judges @ normal.T - (normal * first).sum(1)
    best = (abs(heights) < rule.tolerance).sum(0).argmax()
    inliers = points[abs((points - first[best]) @ normal[best]) < rule.tolerance]
    center = inliers.mean(0)
    _, values, axes = np.linalg.svd(np.cov((inliers - center).T))
    if values[1] < 1e-9:
        return None
    upward = axes[2] * np.sign(axes[2, 2] or 1)
    return np.append(upward, -upward @ center)
