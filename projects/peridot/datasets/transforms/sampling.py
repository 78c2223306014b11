"""Selection of the points and cameras of a sample: one point a voxel, one camera, a limited number of points."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from peridot.datasets.frames import PER_CAMERA
from peridot.datasets.transforms.loading import LoadImageViews, ProjectPoints
from peridot.datasets.transforms.views import ViewTransform
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS

_PER_POINT = ('pts_semantic_mask', 'pts_instance_mask', 'sensor_origin', 'segments')


def keep_points(results: dict, keep: np.ndarray) -> None:
    """Keep the chosen points of a sample, with their pairs and labels, in their order.

    Args:
        results: With `points`, and `pairs` and labels of points if they were loaded.
        keep: Bool (N,).
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


def voxel_numbers(xyz: np.ndarray, voxel_size: float) -> np.ndarray:
    """Number of the voxel of each point: equal for two points exactly if they lie in the same voxel.

    Args:
        xyz: Float (N, 3), x, y, z in meters, N >= 1.
        voxel_size: Side in meters.

    Returns:
        Int64 (N,).
    """
    # one row per axis: reductions along contiguous memory are several times faster
    axes = np.ascontiguousarray(xyz.T)
    x, y, z = ((axes - axes.min(1, keepdims=True)) / voxel_size).astype(np.int64)
    return (x * (y.max() + 1) + y) * (z.max() + 1) + z


def first_of_voxels(xyz: Tensor, size: float) -> Tensor:
    """Rows Int64 (M,) of the first point of every voxel of `size` meters, ordered by x, y and z of the voxel."""
    voxel = (xyz / size).floor().numpy()
    return torch.from_numpy(np.unique(voxel, axis=0, return_index=True)[1])


@TRANSFORMS.register_module()
class VoxelDownsample(BaseTransform):
    """Keep one point of every occupied voxel, a uniformly random one (ScaLR's first step).

    Voxels start at the smallest coordinates of the cloud, as in the released code.

    Args:
        voxel_size: Side in meters. Defaults to 0.1.
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


@TRANSFORMS.register_module()
class LimitPoints(BaseTransform):
    """Keep the points nearest to a random one if there are too many.

    Args:
        max_points: Number of points to keep. Defaults to 20000.
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
class SamplePoints(BaseTransform):
    """Keep a uniformly random choice of the points if there are too many.

    Args:
        num_points: Maximum number of points of a scan.
    """

    def __init__(self, num_points: int) -> None:
        self.num_points = num_points

    def transform(self, results: dict) -> dict:
        """Change `points`, `pairs` and labels of points."""
        keep = np.zeros(len(results['points']), dtype=bool)
        keep[np.random.permutation(len(keep))[: self.num_points]] = True
        keep_points(results, keep)
        return results


@TRANSFORMS.register_module()
class DrawCameras(ViewTransform):
    """Some of the cameras, drawn at random, before their images are read.

    Inside `SameInAllFrames` all frames of a sample keep the cameras of the same names; a frame with other cameras than
    the keyframe keeps those of its own that come first in the sample's random order of names.

    Args:
        num_cameras: How many to keep; a sample with fewer keeps all.
    """

    def __init__(self, num_cameras: int) -> None:
        if num_cameras < 1:
            raise ConfigError(f'DrawCameras: num_cameras={num_cameras}: keep at least one')
        self.num_cameras = num_cameras

    def transform(self, results: dict) -> dict:
        """Change the entries of the cameras, which keep their order."""
        seed = np.random.randint(2**32)
        order = [np.random.default_rng([seed, *name.encode()]).random() for name in results['cameras']]
        return _with_cameras(results, np.sort(np.argsort(order)[: self.num_cameras]))


@TRANSFORMS.register_module()
class ChooseCamera(LoadImageViews):
    """One random camera and the points it sees; in place of `LoadImageViews` and `ProjectPoints`.

    The image files of other cameras are not read. A camera with too few points is replaced by another, drawn from the
    rest; if none has enough, the pipeline returns None, and the dataset takes another sample and counts it.

    Args:
        min_points: Points that a camera must see; WaffleIron asks for 16 neighbors of each point. Defaults
            to 17.
        min_depth: Nearest depth of a point in front of the camera, in meters. Defaults to 1.
        num_cameras: 1 (default), or None for all cameras and the points that any of them sees.
        backend_args: See `LoadPoints`.

    Raises:
        ConfigError: `num_cameras` is another number.
        DataError: An image file is absent, truncated or no image.
    """

    def __init__(
        self,
        min_points: int = 17,
        min_depth: float = 1.0,
        num_cameras: int | None = 1,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(backend_args)
        if num_cameras not in (1, None):
            raise ConfigError(f'ChooseCamera: num_cameras={num_cameras!r}, choose 1 or None (all cameras)')
        self.min_points = min_points
        self.num_cameras = num_cameras
        self.project = ProjectPoints(min_depth)

    def __call__(self, results: dict) -> dict | None:
        """Run the transform."""
        if 'dense_sweeps' in results:
            raise ConfigError(
                'ChooseCamera knows no dense clouds: take `dense` out of `frames`, or put DrawCameras, LoadImageViews '
                'and ProjectPoints in its place'
            )
        return super().__call__(results)

    def transform(self, results: dict) -> dict | None:
        """Add `views` and `pairs`; change `points`, labels of points and the entries of the cameras."""
        cameras = np.arange(len(results['cameras']))
        choices = np.random.permutation(cameras)[:, None] if self.num_cameras else [cameras]
        for chosen in choices:
            sample = self.project(super().transform(_with_cameras(results, chosen)))
            seen = np.zeros(len(sample['points']), dtype=bool)
            seen[sample['pairs'].point.numpy()] = True
            if seen.sum() >= self.min_points:
                keep_points(sample, seen)
                return sample
        return None


def _with_cameras(results: dict, chosen: np.ndarray) -> dict:
    """The sample with the chosen cameras only."""
    part = dict(results)
    for name in PER_CAMERA + ('image_offsets',) * ('image_offsets' in results):
        values = results[name]
        part[name] = values[chosen] if isinstance(values, np.ndarray) else [values[camera] for camera in chosen]
    return part
