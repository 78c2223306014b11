"""Projection of a sweep into a camera, and an occlusion test."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class ProjectedPoints:
    """K points projected into an image.

    Attributes:
        position: Float64 (K, 2), u, v in pixels, integers at pixel centers.
        depth: Float64 (K,), meters along the viewing axis.
        index: Int64 (K,), row of each among the given points.
    """

    position: np.ndarray
    depth: np.ndarray
    index: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> ProjectedPoints:
        return ProjectedPoints(self.position[chosen], self.depth[chosen], self.index[chosen])


def project(points: np.ndarray, matrix: np.ndarray, size: tuple[int, int], min_depth: float = 1.0) -> ProjectedPoints:
    """Project points and keep those that fall into the image: depth > `min_depth`, 0 <= u < W - 1 and 0 <= v < H - 1.

    Args:
        points: Float (N, 3), meters.
        matrix: Float (3, 4), homogeneous points to (u, v, 1) * depth.
        size: (H, W) of the image.
        min_depth: Smallest depth in meters.
    """
    depth = points @ matrix[2, :3] + matrix[2, 3]
    ahead = np.flatnonzero(depth > min_depth)
    depth = depth[ahead]
    position = (points[ahead] @ matrix[:2, :3].T + matrix[:2, 3]) / depth[:, None]
    inside = ((position >= 0) & (position < (size[1] - 1, size[0] - 1))).all(1)
    return ProjectedPoints(position[inside], depth[inside], ahead[inside])


def beam_pitch(cam2img: np.ndarray, column_step: float, elevation: np.ndarray) -> np.ndarray:
    """Pixels between neighboring columns and between neighboring beams at the center of an image, float (2,).

    Args:
        cam2img: Float (>=2, >=2), intrinsics.
        column_step: Radians between columns.
        elevation: Float (R,), radians, of the beams from the highest down.
    """
    row_step = (elevation[0] - elevation[-1]) / max(1, len(elevation) - 1) or column_step
    return np.array([cam2img[0, 0] * column_step, cam2img[1, 1] * row_step])


def visible(
    points: ProjectedPoints, occluders: ProjectedPoints, size: tuple[int, int], window: tuple[float, float]
) -> np.ndarray:
    """Find points that are not hidden by a nearer one.

    A lidar above the cameras sees over things; a point is hidden if one around it is nearer by more than 1 m and by
    more than a tenth of the point's depth.

    Args:
        points: The points.
        occluders: Points that may hide them.
        size: (H, W) of the image.
        window: Size of the neighborhood, (pixels along a row, pixels along a column) to each side.

    Returns:
        Bool (K,).
    """
    nearest = np.full(size, np.inf, np.float32)
    farthest_first = occluders[np.argsort(-occluders.depth)]
    u, v = np.rint(farthest_first.position).astype(np.int64).T
    nearest[v, u] = farthest_first.depth
    kernel = np.ones([2 * round(reach) + 1 for reach in reversed(window)], np.uint8)
    u, v = np.rint(points.position).astype(np.int64).T
    front = cv2.erode(nearest, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)[v, u]
    return points.depth - front <= np.maximum(1.0, 0.1 * points.depth)
