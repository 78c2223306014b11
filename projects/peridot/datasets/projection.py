"""Projection of lidar points into all cameras of a rig: pure functions of arrays."""

from __future__ import annotations

import numpy as np
import torch

from peridot.structures import Pairs


def lidar_to_image(lidar2cam: np.ndarray, cam2img: np.ndarray) -> np.ndarray:
    """Chain extrinsics and intrinsics.

    Args:
        lidar2cam (np.ndarray): (V, 4, 4), lidar frame at lidar time to camera frame at camera time (this one
            matrix holds the whole chain lidar -> ego -> global -> ego -> camera, ego motion included).
        cam2img (np.ndarray): (V, 3, 3) or (V, 3, 4) or (V, 4, 4) intrinsics.

    Returns:
        np.ndarray: (V, 3, 4) float64, homogeneous lidar coordinates to (u, v, 1) * depth.
    """
    lidar2cam, cam2img = np.asarray(lidar2cam, np.float64), np.asarray(cam2img, np.float64)
    columns = cam2img.shape[-1]
    return cam2img[:, :3] @ lidar2cam[:, :columns]


def project_to_cameras(
    points: np.ndarray,
    lidar2cam: np.ndarray,
    cam2img: np.ndarray,
    image_sizes: np.ndarray,
    min_depth: float = 1.0,
) -> Pairs:
    """Project a cloud into all cameras at once and keep what falls into an image.

    The rule is SLidR's and OLIVINE's: depth > `min_depth`, 0 < u < W - 1 and 0 < v < H - 1, all strict,
    without an occlusion test. Double precision inside.

    Args:
        points (np.ndarray): (N, >=3) lidar frame, meters.
        lidar2cam (np.ndarray): (V, 4, 4).
        cam2img (np.ndarray): (V, 3, 3), (V, 3, 4) or (V, 4, 4).
        image_sizes (np.ndarray): (V, 2) height and width in pixels.
        min_depth (float): Nearest depth in meters.

    Returns:
        Pairs: Camera after camera, points in the order of the cloud.
    """
    num_cameras = len(lidar2cam)
    if num_cameras == 0 or len(points) == 0:
        return Pairs.empty()
    matrices = lidar_to_image(lidar2cam, cam2img)
    xyz = np.ascontiguousarray(points[:, :3].T, dtype=np.float64)
    projected = matrices[:, :, :3].reshape(-1, 3) @ xyz
    projected = projected.reshape(num_cameras, 3, -1) + matrices[:, :, 3:]
    camera, point = np.nonzero(projected[:, 2] > min_depth)
    u, v, depth = projected[camera, :, point].T
    column, row = u / depth, v / depth
    height, width = np.asarray(image_sizes)[camera].T
    inside = (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1)
    return Pairs(
        point=torch.from_numpy(point[inside]),
        camera=torch.from_numpy(camera[inside]),
        position=torch.from_numpy(np.stack([row[inside], column[inside]], 1).astype(np.float32)),
    )
