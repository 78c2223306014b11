"""Which points and cameras of a sample are used: ScaLR's voxels, one camera, at most so many points."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from peridot.datasets.transforms.loading import LoadImageViews, ProjectPoints
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS

_PER_POINT = ('pts_semantic_mask', 'pts_instance_mask', 'sensor_origin')
_PER_CAMERA = ('cameras', 'img_paths', 'img_tokens', 'lidar2cam', 'cam2img')


def keep_points(results: dict, keep: np.ndarray) -> None:
    """Leave the chosen points of a sample, with their pairs and labels, in their order.

    Args:
        results (dict): With `points`, and where they were loaded `pairs` and labels of points.
        keep (np.ndarray): (N,) bool.
    """
    keep = torch.from_numpy(keep)
    rows = keep.nonzero()[:, 0]
    if len(rows) == len(keep):
        return
    results['points'] = results['points'][rows]
    if 'pairs' in results:
        results['pairs'] = results['pairs'].drop_points(keep)
    for name in _PER_POINT:
        if name in results:
            results[name] = results[name][rows.numpy()]


@TRANSFORMS.register_module()
class VoxelDownsample(BaseTransform):
    """Keep one point of every occupied voxel, a uniformly random one (ScaLR's first step).

    Voxels start at the smallest coordinates of the cloud, as in the released code.

    Args:
        voxel_size (float): Side in meters. Defaults to 0.1.
    """

    def __init__(self, voxel_size: float = 0.1) -> None:
        self.voxel_size = voxel_size

    def transform(self, results: dict) -> dict:
        """Change `points`, `pairs` and labels of points."""
        voxel = voxel_numbers(results['points'].coord.numpy(), self.voxel_size)
        order = np.random.permutation(len(voxel))
        # a stable sort: within a voxel the points stay in their random order
        order = order[np.argsort(voxel[order], kind='stable')]
        first = np.ones(len(voxel), dtype=bool)
        first[1:] = voxel[order[1:]] != voxel[order[:-1]]
        keep = np.zeros(len(voxel), dtype=bool)
        keep[order[first]] = True
        keep_points(results, keep)
        return results


def voxel_numbers(xyz: np.ndarray, voxel_size: float) -> np.ndarray:
    """Number of the voxel of each point: equal for two points exactly when they share a voxel.

    Args:
        xyz (np.ndarray): (N, 3) meters, N >= 1.
        voxel_size (float): Side in meters.

    Returns:
        np.ndarray: (N,) int64.
    """
    # one row per axis: reductions along contiguous memory are several times faster
    axes = np.ascontiguousarray(xyz.T)
    x, y, z = ((axes - axes.min(1, keepdims=True)) / voxel_size).astype(np.int64)
    return (x * (y.max() + 1) + y) * (z.max() + 1) + z


@TRANSFORMS.register_module()
class LimitPoints(BaseTransform):
    """Keep the points nearest to a random one of them when there are too many.

    Args:
        max_points (int): Defaults to 20000.
    """

    def __init__(self, max_points: int = 20000) -> None:
        self.max_points = max_points

    def transform(self, results: dict) -> dict:
        """Change `points`, `pairs` and labels of points."""
        xyz = results['points'].coord.numpy()
        if len(xyz) <= self.max_points:
            return results
        center = xyz[np.random.randint(len(xyz))]
        distance = np.square(xyz - center).sum(1)
        keep = np.zeros(len(xyz), dtype=bool)
        keep[np.argpartition(distance, self.max_points - 1)[: self.max_points]] = True
        keep_points(results, keep)
        return results


@TRANSFORMS.register_module()
class ChooseCamera(BaseTransform):
    """One random camera and the points it sees; in place of `LoadImageViews` and `ProjectPoints`.

    The image files of other cameras are not read. A camera with too few points makes room for another, drawn among
    the rest; where none has enough, the pipeline ends with None: the dataset takes another sample and counts it.

    Args:
        min_points (int): Points that a camera must see; WaffleIron asks for 16 neighbors of each point. Defaults
            to 17.
        min_depth (float): Nearest depth of a point in front of the camera, in meters. Defaults to 1.
        num_cameras (int, optional): 1 (default), or None: all cameras, and the points that any of them sees.

    Raises:
        ConfigError: Another number of cameras is asked for.
        DataError: An image file is absent, truncated or no image.
    """

    def __init__(self, min_points: int = 17, min_depth: float = 1.0, num_cameras: int | None = 1) -> None:
        if num_cameras not in (1, None):
            raise ConfigError(f'ChooseCamera: num_cameras={num_cameras!r}, choose 1 or None (all cameras)')
        self.min_points = min_points
        self.num_cameras = num_cameras
        self.load, self.project = LoadImageViews(), ProjectPoints(min_depth)

    def transform(self, results: dict) -> dict | None:
        """Add `views` and `pairs`, change `points` and labels of points, and what the sample says of its cameras."""
        cameras = np.arange(len(results['cameras']))
        choices = np.random.permutation(cameras)[:, None] if self.num_cameras else [cameras]
        for chosen in choices:
            sample = self.project(self.load(_with_cameras(results, chosen)))
            seen = np.zeros(len(sample['points']), dtype=bool)
            seen[sample['pairs'].point.numpy()] = True
            if seen.sum() >= self.min_points:
                keep_points(sample, seen)
                return sample
        return None


def _with_cameras(results: dict, chosen: np.ndarray) -> dict:
    """A sample with some of its cameras."""
    part = dict(results)
    for name in _PER_CAMERA:
        values = results[name]
        part[name] = values[chosen] if isinstance(values, np.ndarray) else [values[camera] for camera in chosen]
    return part
