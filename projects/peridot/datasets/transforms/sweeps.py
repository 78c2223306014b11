"""A second sweep of the lidar besides the keyframe."""

from __future__ import annotations

import numpy as np
import torch

from peridot.datasets.transforms.loading import LoadPoints, moved
from peridot.datasets.transforms.sampling import first_of_voxels
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSecondSweep(LoadPoints):
    """Points of one of the sweeps before the keyframe, for `SampleOccupancyQueries` alone: no network sees them.

    The sweep is drawn uniformly among those that the dataset keeps (`num_sweeps` of `PairedDataset`); a keyframe that
    has none gets none. Its points and the place of its sensor are moved into the keyframe's frame, so that the ray of
    each return starts where it was sent from. Objects that move in the meantime give wrong queries.

    Args:
        load_dim: Numbers per point in the file. Defaults to 5.
        use_dim: How many of the first columns to keep. Defaults to 4.
        voxel_size: Keep the first return of each voxel of this size (m), as the keyframe is thinned
            out by `VoxelDownsample`. Defaults to None.
        intensity_scale: See `LoadPoints`. Defaults to 1.
        **kwargs: Other arguments of `LoadPoints` (`nonfinite`, `backend_args`, ...).

    Raises:
        ConfigError: The dataset keeps no sweeps.
        DataError: The file is missing or damaged.
    """

    def __init__(
        self,
        load_dim: int = 5,
        use_dim: int = 4,
        voxel_size: float | None = None,
        intensity_scale: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(load_dim, use_dim, intensity_scale, **kwargs)
        self.voxel_size = voxel_size

    def transform(self, results: dict) -> dict:
        """Add `second_sweep`: `points` (K, use_dim) and `sensor_origin` (3,), float32 in the keyframe's frame."""
        if 'lidar_sweeps' not in results:
            raise ConfigError(
                'LoadSecondSweep: the dataset keeps no sweeps, set num_sweeps=1 or more of peridot.PairedDataset'
            )
        if not results['lidar_sweeps']:
            return results
        sweep = results['lidar_sweeps'][np.random.randint(len(results['lidar_sweeps']))]
        loaded = super().transform({'lidar_points': {'lidar_path': sweep['lidar_path']}})
        if 'dropped_points' in loaded:
            results['dropped_points'] = results.get('dropped_points', 0) + loaded['dropped_points']
        points = loaded['points'].tensor
        if self.voxel_size is not None:
            points = points[first_of_voxels(points[:, :3], self.voxel_size)]
        results['second_sweep'] = {
            'points': moved(points, sweep['sensor2lidar']),
            'sensor_origin': torch.from_numpy(sweep['sensor2lidar'][:3, 3]).float(),
        }
        return results
