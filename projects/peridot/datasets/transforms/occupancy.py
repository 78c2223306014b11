"""ALSO's occupancy queries: occupied and free places around a lidar scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from torch import Tensor

from peridot.datasets.transforms.augmentation import follow_augmentation
from peridot.datasets.transforms.sampling import first_of_voxels
from peridot.errors import DataError
from peridot.registry import TRANSFORMS
from peridot.structures import Queries

# mmdet3d's column of the time lag of accumulated sweeps
_TIME_LAG = 4


def occupancy_queries(xyz: Tensor, intensity: Tensor | None, origin: Tensor, num_queries: int, delta: float) -> Queries:
    """Draw queries behind returns, in front of them and on the way to them (ALSO, section 3.1).

    With the sensor at o, a return p, its direction d = (p - o) / |p - o| and u ~ U(0, 1) of each query:

        behind:  q = p + u delta d       occupied, intensity of p
        front:   q = p - u delta d       free, intensity of p
        ray:     q = o + u (p - o)       free, no intensity

    Each kind draws its own returns without replacement: a third of the queries each for front and ray, the rest
    for behind, and no more than there are returns.

    Args:
        xyz: Float (N, 3), returns in meters.
        intensity: Float (N,), reflectance of the returns; None if it is not measured.
        origin: Float (3,), place of the sensor, or (N, 3) of the sensor of every return.
        num_queries: M.
        delta: Farthest distance of a query behind or in front of its return, in meters.

    Returns:
        Queries in the order behind, front, ray. All random draws come from torch's default generator.
    """
    third = num_queries // 3
    origin = origin.expand_as(xyz)
    ray = xyz - origin
    direction = F.normalize(ray, dim=1)
    behind, front, along = (torch.randperm(len(xyz))[:n] for n in (num_queries - 2 * third, third, third))
    u = [torch.rand(len(rows), 1) for rows in (behind, front, along)]
    near = torch.cat([behind, front])
    known = torch.zeros(0) if intensity is None else intensity[near]
    position = [
        xyz[behind] + u[0] * delta * direction[behind],
        xyz[front] - u[1] * delta * direction[front],
        origin[along] + u[2] * ray[along],
    ]
    count = len(near) + len(along)
    row = torch.arange(count)
    return Queries(
        position=torch.cat(position),
        occupied=row < len(behind),
        intensity=F.pad(known, (0, count - len(known))),
        has_intensity=row < len(known),
    )


@TRANSFORMS.register_module()
class SampleOccupancyQueries(BaseTransform):
    """Draw ALSO's occupancy queries from the points, see `occupancy_queries`.

    Put it after mmdet3d's augmentations (`GlobalRotScaleTrans`, `RandomFlip3D`): the sensor moves with the points, and
    delta grows with their scale, so that the queries are those of the original scan, augmented. Put it before points
    are dropped from the network's input: queries may come from points that the network does not see.

    The sensor stands at the origin of the loaded points (nuScenes' and KITTI's lidar frames). Points in another frame
    need `origin`; those of several sweeps need `results['sensor_origin']`, (N, 3) in the frame of the loaded points.

    If `LoadSecondSweep` loaded another sweep, half of the queries come from it.

    Args:
        num_queries: Queries of a scan.
        delta: Largest distance of a query behind or in front of its return, in meters. Defaults to 0.1.
        intensity_scale: Divides the fourth column of the points: 255 for nuScenes, 1 where it is in [0, 1].
            Defaults to 1.
        voxel_size: Draw from the first return of each voxel of this size (m), which evens out their
            density if `VoxelDownsample` has not thinned out the points. Defaults to None.
        origin: Place of the sensor in the frame of the loaded points. Defaults to (0, 0, 0).

    Raises:
        DataError: Points are not finite, come from several sweeps without `sensor_origin`, or do not fit it.
        ConfigError: The cloud was augmented twice by the same transform: only its last values are on record.
    """

    def __init__(
        self,
        num_queries: int,
        delta: float = 0.1,
        intensity_scale: float = 1.0,
        voxel_size: float | None = None,
        origin: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.num_queries = num_queries
        self.delta = delta
        self.intensity_scale = intensity_scale
        self.voxel_size = voxel_size
        self.origin = torch.tensor(origin)

    def transform(self, results: dict) -> dict:
        """Add `queries` (Queries)."""
        points = results['points'].tensor
        self._check(points, results)
        origin = torch.as_tensor(results.get('sensor_origin', self.origin), dtype=torch.float32)
        clouds = [(points, origin)]
        if 'second_sweep' in results:
            second, origin = (results['second_sweep'][name] for name in ('points', 'sensor_origin'))
            clouds.append((torch.cat([follow_augmentation(second[:, :3], results), second[:, 3:]], 1), origin))
        counts = [self.num_queries - self.num_queries // 2, self.num_queries // 2] if clouds[1:] else [self.num_queries]
        queries = [self._draw(*cloud, count, results) for cloud, count in zip(clouds, counts)]
        results['queries'] = Queries.cat(queries)
        return results

    def _draw(self, points: Tensor, origin: Tensor, num_queries: int, results: dict) -> Queries:
        """Queries of augmented points, whose sensor stood at `origin` before."""
        origin = follow_augmentation(origin.reshape(-1, 3), results).expand(len(points), 3)
        delta = self.delta * results.get('pcd_scale_factor', 1.0)
        if self.voxel_size is not None:
            rows = first_of_voxels(points[:, :3], self.voxel_size)
            points, origin = points[rows], origin[rows]
        intensity = points[:, 3] / self.intensity_scale if points.shape[1] > 3 else None
        return occupancy_queries(points[:, :3], intensity, origin, num_queries, delta)

    def _check(self, points: Tensor, results: dict) -> None:
        if not points.isfinite().all():
            raise DataError(
                f'point file {results.get("lidar_path")}: values that are not finite reached SampleOccupancyQueries: '
                'restore the file, or load it with peridot.LoadPoints, which names the cause'
            )
        accumulated = points.shape[1] == _TIME_LAG + 1 and len(points[:, _TIME_LAG].unique()) > 1
        if accumulated and 'sensor_origin' not in results:
            raise DataError(
                f'{results.get("lidar_path")}: the points come from several sweeps (their time lags differ), but '
                "results['sensor_origin'] (N, 3) does not say where the sensor stood for each of them: add it while "
                'loading, or pre-train with the keyframe alone (LoadPoints with use_dim=4)'
            )
        origin = results.get('sensor_origin')
        if origin is not None and not (np.shape(origin) in {(3,), (len(points), 3)} and np.isfinite(origin).all()):
            raise DataError(
                f"{results.get('lidar_path')}: results['sensor_origin'] of shape {np.shape(origin)} gives no finite "
                f'place (3,), nor one (N, 3) for each of the {len(points)} points: correct the transform that adds it'
            )
