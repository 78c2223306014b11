"""Pairs of images of other keyframes: those whose point the camera could not see are left out."""

from __future__ import annotations

import logging

import numpy as np
import torch
from mmcv.ops import points_in_boxes_cpu
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from peridot.datasets.occlusion import cell_of, depths_of, seen_then
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.transforms.loading import LoadPoints
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS
from peridot.structures import Pairs

# of points that hide others, meters
_MIN_DEPTH = 0.3


@TRANSFORMS.register_module()
class DropOccludedPairs(LoadPoints):
    """Leave out pairs of images of other keyframes whose point was hidden, or not there, when the image was taken.

    For `images_of` of the dataset's `frames`; must come after `ProjectPoints` (or `ChooseCamera`) and before any other
    transform of points or images. The scan that was taken with an image is read again and moved into it. It tells what
    stood in front of a point (occlusion), and, where its beams passed the place of a point, that the point was not
    there: it moves. That needs no labels. Pairs of the sample's own images stay, as published methods have them.

    Beams leave gaps, so depths are compared within the lidar's angular resolution, and a difference counts if it is
    larger than a part of the depth, see `peridot.datasets.occlusion.seen_then`.

    Args:
        resolution: Vertical and horizontal angular resolution of the lidar in degrees. Defaults to that of nuScenes'.
        tolerance: Part of the depth by which something must be nearer to hide a point, and farther to show that it was
            not there. Defaults to 0.1.
        other_scans: Read the scans of the other keyframes. Otherwise the sample's own scan tells what hides its points:
            nothing is read, but things that moved on hide nothing, and nothing says which points move.
        load_dim: Numbers per point in the files. Defaults to 5.
        **kwargs: Other arguments of `LoadPoints` (`dtype`, `nonfinite`, `backend_args`, ...).

    Raises:
        ConfigError: The dataset gives samples no images of other keyframes.
        DataError: A scan is missing or damaged.
    """

    def __init__(
        self,
        resolution: tuple[float, float] = (1.33, 0.33),
        tolerance: float = 0.1,
        other_scans: bool = True,
        load_dim: int = 5,
        **kwargs,
    ) -> None:
        super().__init__(load_dim, use_dim=3, **kwargs)
        self.resolution = tuple(resolution)
        self.tolerance = tolerance
        self.other_scans = other_scans

    def transform(self, results: dict) -> dict:
        """Change `pairs`."""
        if not _has_other_images(results, 'DropOccludedPairs'):
            return results
        own = results['points'].tensor[:, :3].numpy()
        depth = depths_of(results['pairs'], own, results['lidar2cam'])
        keep = torch.ones(len(depth), dtype=torch.bool)
        for scan in results['image_scans']:
            views = np.flatnonzero(results['image_offsets'] == scan['offset'])
            if len(views):
                self._test(results, scan, views, depth, keep)
        results['pairs'] = results['pairs'][keep]
        return results

    def _test(self, results: dict, scan: dict, views: np.ndarray, depth: np.ndarray, keep: torch.Tensor) -> None:
        """Fill the rows of `keep` that belong to the views, all of one other keyframe; `depth` (P,) of all pairs."""
        pairs, intrinsics = results['pairs'], results['cam2img'][views]
        to_cameras = results['lidar2cam'][views]
        cloud, cloud_to_cameras = results['points'].tensor[:, :3].numpy(), to_cameras
        if self.other_scans:
            cloud = super().transform({'lidar_points': dict(scan['lidar_points'])})['points'].tensor.numpy()
            cloud_to_cameras = to_cameras @ scan['to_sample']
        sizes = results['views'].file_size[views]
        found = project_to_cameras(cloud, cloud_to_cameras, intrinsics, sizes, _MIN_DEPTH)
        measured = depths_of(found, cloud, cloud_to_cameras)
        mine, theirs = (_bounds(part, of) for part, of in ((pairs, views), (found, np.arange(len(views)))))
        for row, (begin, end), (first, last) in zip(range(len(views)), mine, theirs):
            seen = seen_then(
                pairs.position[begin:end].numpy(),
                depth[begin:end],
                found.position[first:last].numpy(),
                measured[first:last],
                cell_of(intrinsics[row], self.resolution),
                self.tolerance,
                self.other_scans,
            )
            keep[begin:end] = torch.from_numpy(seen)


@TRANSFORMS.register_module()
class DropMovingPairs(BaseTransform):
    """Leave out pairs of images of other keyframes whose point lies in the box of something that moves.

    Boxes are annotations, so this is no training without labels; nuScenes' info files have them with velocities. If a
    sample has none, all pairs stay, and a line in the log says so once. Must come after `ProjectPoints` (or
    `ChooseCamera`) and before any other transform of points or images.

    Args:
        min_speed: Slowest speed in m/s that counts as moving; boxes whose speed is unknown count, too. Defaults to 0.5.
        margin: Meters by which boxes are enlarged on every side. Defaults to 0.1.

    Raises:
        ConfigError: The dataset gives samples no images of other keyframes.
    """

    def __init__(self, min_speed: float = 0.5, margin: float = 0.1) -> None:
        self.min_speed = min_speed
        self.margin = margin
        self._told = False

    def transform(self, results: dict) -> dict:
        """Change `pairs`."""
        if not _has_other_images(results, 'DropMovingPairs'):
            return results
        boxes = results.get('boxes')
        if boxes is None:
            self._tell(results)
            return results
        pairs = results['pairs']
        moving = boxes[~(boxes[:, 7] < self.min_speed), :7]
        other = torch.from_numpy(results['image_offsets'])[pairs.camera] != 0
        if len(moving) and other.any():
            inside = points_in_boxes(results['points'].tensor[:, :3], moving, self.margin)
            results['pairs'] = pairs[~(other & inside[pairs.point])]
        return results

    def _tell(self, results: dict) -> None:
        if not self._told:
            line = f'{results["ann_file"]} has no boxes with velocities: DropMovingPairs drops nothing'
            print_log(line, 'current', logging.WARNING)
        self._told = True


def points_in_boxes(xyz: torch.Tensor, boxes: np.ndarray, margin: float = 0.0) -> torch.Tensor:
    """Whether points lie in any of some boxes.

    Args:
        xyz: Float32 (N, 3), meters.
        boxes: Float32 (M, 7), M >= 1, x, y, z of the center, length, width, height and yaw about z in radians.
        margin: Meters by which boxes are enlarged on every side.

    Returns:
        Bool (N,).
    """
    grown = torch.from_numpy(boxes).clone()
    grown[:, 3:6] += 2 * margin
    # mmcv's boxes stand on their z
    grown[:, 2] -= grown[:, 5] / 2
    return points_in_boxes_cpu(xyz[None].contiguous(), grown[None])[0].any(1)


def _has_other_images(results: dict, name: str) -> bool:
    if 'image_offsets' in results:
        return True
    # other frames of a sample have their own images alone
    if results.get('frame'):
        return False
    raise ConfigError(
        f'{name}: samples have no images of other keyframes, set frames=dict(images_of=(-1,)) or more of '
        'peridot.PairedDataset, or take the transform out'
    )


def _bounds(pairs: Pairs, views: np.ndarray) -> list[tuple[int, int]]:
    """First row and end of the pairs of each view, which are ordered by camera."""
    camera = pairs.camera.numpy()
    return list(zip(np.searchsorted(camera, views).tolist(), np.searchsorted(camera, views + 1).tolist()))
