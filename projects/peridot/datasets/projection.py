"""Projection of lidar points into all cameras of a rig: pure functions of arrays."""

from __future__ import annotations

import numpy as np
import torch

from peridot.structures import Pairs

# a camera that sees a smaller fraction of a scan's points is suspicious
FEW_POINTS = 0.005


def lidar_to_image(lidar2cam: np.ndarray, cam2img: np.ndarray) -> np.ndarray:
    """Chain extrinsics and intrinsics.

    Args:
        lidar2cam: Float (V, 4, 4), lidar frame at lidar time to camera frame at camera time (this one
            matrix holds the whole chain lidar -> ego -> global -> ego -> camera, ego motion included).
        cam2img: Float (V, 3, 3), (V, 3, 4) or (V, 4, 4), intrinsics.

    Returns:
        Float64 (V, 3, 4), homogeneous lidar coordinates to (u, v, 1) * depth.
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
    without an occlusion test. The matrices are chained in double precision; the points are multiplied in
    single precision, which moves a position by less than 1e-2 pixels.

    Args:
        points: Float (N, >=3), x, y, z in meters in the lidar frame.
        lidar2cam: Float (V, 4, 4).
        cam2img: Float (V, 3, 3), (V, 3, 4) or (V, 4, 4).
        image_sizes: Int (V, 2), height and width in pixels.
        min_depth: Nearest depth in meters.

    Returns:
        Pairs ordered by camera, then by point.
    """
    num_cameras = len(lidar2cam)
    if num_cameras == 0 or len(points) == 0:
        return Pairs.empty()
    homogeneous = np.ones((4, len(points)), dtype=np.float32)
    homogeneous[:3] = points[:, :3].T
    matrices = lidar_to_image(lidar2cam, cam2img).transpose(1, 0, 2).astype(np.float32)
    u_depth, v_depth, depth = (matrices.reshape(-1, 4) @ homogeneous).reshape(3, num_cameras, -1)
    height, width = np.asarray(image_sizes, dtype=np.float32).T[..., None]
    # compared before the division, which then runs on the few points that remain
    inside = (depth > min_depth) & (u_depth > 0) & (v_depth > 0)
    inside &= (u_depth < (width - 1) * depth) & (v_depth < (height - 1) * depth)
    # flat rows: indexing by a mask of two dimensions costs several times more
    rows = np.flatnonzero(inside)
    camera, point = np.divmod(rows, len(points))
    position = np.stack([v_depth.take(rows), u_depth.take(rows)], 1) / depth.take(rows)[:, None]
    return Pairs(
        point=torch.from_numpy(point),
        camera=torch.from_numpy(camera),
        position=torch.from_numpy(position),
    )
