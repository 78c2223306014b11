"""Loading of the lidar segments of two frames."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from peridot.errors import ConfigError
from peridot.maps.lidar_segments import SegmentFolder
from peridot.maps.named import LIDAR_SEGMENTS, maps_called
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLidarSegments(BaseTransform):
    """The segment of every point, one id for both frames: the keyframe and the first of the other keyframes.

    Must come right after `LoadPoints`: the folder `lidar_segments` of the dataset's `maps` knows the points of the file
    (tools/make_lidar_segments.py). Points that later transforms of this package remove take their ids along. Other
    frames of the sample have no segments.

    Raises:
        ConfigError: The dataset has no `frames` with keyframes, or no lidar segments.
        DataError: The segments of the sample are missing, damaged, or of other points.
    """

    def transform(self, results: dict) -> dict:
        """Add `segments`, Int64 (N,), -1 for points without, and `num_segments` (int), which all ids are below."""
        folder = maps_called(LIDAR_SEGMENTS, results, SegmentFolder)
        if 'paired_scans' not in results:
            raise ConfigError(
                'LoadLidarSegments needs a second keyframe: set frames=dict(keyframes=(1,)) of the dataset'
            )
        points, scans = results['points'].tensor, results['paired_scans']
        if scans is None or results['frame'] > 1:
            results['segments'] = np.full(len(points), -1, np.int64)
        else:
            results['segments'] = folder.ids(scans, results['frame'], points[:, :3].numpy())
        results['num_segments'] = folder.manifest.num_segments
        return results
