"""Segments of two scans: what stands on the ground plane, clustered by HDBSCAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import HDBSCAN

from peridot.datasets.transforms.sampling import voxel_numbers
from peridot.drive_and_segment.proposals.ground import GroundRule, fit_plane
from peridot.errors import ConfigError

# of HDBSCAN and of the files
NONE = -1


@dataclass(frozen=True)
class SegmentRule:
    """Settings of `find_segments`. What Seal uses is not known: those marked * are TARL's, the others are ours.

    Attributes:
        min_cluster_size: Fewest points of a cluster, of those that are clustered (*).
        leaf_size: Of the tree that HDBSCAN searches neighbors in (*); changes its speed, not its result.
        voxel_size: One point of every voxel of this side in meters is clustered, and the others of the voxel share its
            segment; 0 clusters all points.
        min_points: A segment has more points than this in each scan.
        max_segments: Segments that are kept, those with the most points (*).
        ground_tolerance: Points nearer than this to the ground plane, or below it, are ground, in meters.
        ground_reach: The plane is fitted to points within this distance, in meters.
        ground_tries: Planes through three random points that are tried.
        seed: Of these draws.

    Raises:
        ConfigError: A setting makes no sense.
    """

    min_cluster_size: int = 20
    leaf_size: int = 100
    voxel_size: float = 0.1
    min_points: int = 10
    max_segments: int = 50
    ground_tolerance: float = 0.25
    ground_reach: float = 40.0
    ground_tries: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = dict.fromkeys(self.__dataclass_fields__, 1)
        lowest |= dict(min_cluster_size=2, voxel_size=0, min_points=0, ground_tolerance=0, ground_reach=0, seed=0)
        for name, limit in lowest.items():
            value, whole = getattr(self, name), isinstance(self.__dataclass_fields__[name].default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < limit:
                noun = 'whole number' if whole else 'number'
                raise ConfigError(f'lidar segments: {name}={value!r} must be a {noun} from {limit}')
        if self.max_segments > np.iinfo(np.int16).max:
            raise ConfigError(f'lidar segments: max_segments={self.max_segments} must be below 32768')


def find_segments(clouds: Sequence[np.ndarray], rule: SegmentRule) -> list[np.ndarray]:
    """Segments of several scans together.

    Points near the ground plane are left out, the others are clustered by HDBSCAN. Clusters with enough points in each
    scan are segments, numbered by their points, the largest first.

    Args:
        clouds: Float (N_i, 3) each, x, y, z in meters in one frame, z about upward.
        rule: The settings.

    Returns:
        Int16 (N_i,) for each scan, -1 for points without segment; a segment has one id in all of them.
    """
    xyz = np.concatenate(clouds).astype(np.float64)
    scan = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    raised = np.flatnonzero(~is_ground(xyz, rule))
    cluster = np.full(len(xyz), NONE)
    cluster[raised] = _clusters(xyz[raised], rule)
    # (clusters, scans)
    counts = np.zeros((cluster.max(initial=NONE) + 1, len(clouds)), np.int64)
    np.add.at(counts, (cluster[raised][cluster[raised] >= 0], scan[raised][cluster[raised] >= 0]), 1)
    kept = np.flatnonzero((counts > rule.min_points).all(1))
    kept = kept[np.argsort(-counts[kept].sum(1), kind='stable')][: rule.max_segments]
    # the last entry is that of NONE
    number = np.full(len(counts) + 1, NONE, np.int16)
    number[kept] = np.arange(len(kept))
    return np.split(number[cluster], np.cumsum([len(cloud) for cloud in clouds])[:-1])


def is_ground(xyz: np.ndarray, rule: SegmentRule) -> np.ndarray:
    """Points on the ground plane or below it, Bool (N,); none where no plane is found.

    Args:
        xyz: Float (N, 3), in meters, z about upward.
        rule: The settings of the ground.
    """
    plane_rule = GroundRule(tolerance=rule.ground_tolerance, tries=rule.ground_tries, seed=rule.seed)
    near = np.hypot(xyz[:, 0], xyz[:, 1]) < rule.ground_reach
    plane = fit_plane(xyz[near], plane_rule)
    if plane is None:
        return np.zeros(len(xyz), bool)
    return xyz @ plane[:3] + plane[3] <= rule.ground_tolerance


def _clusters(xyz: np.ndarray, rule: SegmentRule) -> np.ndarray:
    """Cluster of every point Int64 (N,), -1 for none."""
    if not rule.voxel_size:
        return _hdbscan(xyz, rule)
    if not len(xyz):
        return np.full(0, NONE)
    _, first, voxel = np.unique(voxel_numbers(xyz, rule.voxel_size), return_index=True, return_inverse=True)
    return _hdbscan(xyz[first], rule)[voxel]


def _hdbscan(xyz: np.ndarray, rule: SegmentRule) -> np.ndarray:
    if len(xyz) < rule.min_cluster_size:
        return np.full(len(xyz), NONE)
    return HDBSCAN(min_cluster_size=rule.min_cluster_size, leaf_size=rule.leaf_size, copy=True).fit_predict(xyz)
