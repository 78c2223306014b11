"""The sensor rig: places, intrinsics and clocks of one lidar and six cameras, close to nuScenes' vehicle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# name: (position in the ego frame, yaw in degrees, focal length, principal point, shutter offset in seconds);
# focal lengths and principal points are for 1600x900
CAMERAS = {
    'CAM_FRONT': ((1.70, 0.016, 1.51), 0.3, 1266.4, (816.3, 491.5), -0.033),
    'CAM_FRONT_RIGHT': ((1.55, -0.493, 1.50), -56.4, 1260.8, (807.9, 495.3), -0.025),
    'CAM_BACK_RIGHT': ((1.015, -0.481, 1.56), -110.2, 1259.5, (807.2, 501.2), -0.017),
    'CAM_BACK': ((0.028, 0.003, 1.58), 179.6, 809.2, (829.2, 481.8), -0.009),
    'CAM_BACK_LEFT': ((1.036, 0.485, 1.59), 108.6, 1256.7, (792.1, 492.8), -0.045),
    'CAM_FRONT_LEFT': ((1.524, 0.495, 1.51), 55.3, 1272.6, (826.6, 479.8), -0.041),
}
LIDAR_POSITION = np.array([0.944, 0.0, 1.84])
BEAMS = 32
COLUMNS = 1084
REACH = (0.6, 95.0)  # nearest and farthest return, metres


def _tilt(roll: float, pitch: float) -> np.ndarray:
    """Small rotation (3, 3): roll about x after pitch about y, degrees."""
    r, p = np.deg2rad([roll, pitch])
    about_x = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    about_y = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    return about_x @ about_y


@dataclass(frozen=True)
class Sensor:
    """A mounted sensor: `rotation` (3, 3) and `position` (3,) map its frame to the ego frame; `delay` seconds."""

    name: str
    rotation: np.ndarray
    position: np.ndarray
    delay: float = 0.0

    def world_pose(self, ego: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) sensor -> world for an ego pose (position, rotation)."""
        place, turn = ego
        return place + turn @ self.position, turn @ self.rotation


@dataclass(frozen=True)
class Camera(Sensor):
    """A pinhole camera: x right, y down, z forward; integer pixel positions are pixel centres."""

    intrinsic: np.ndarray = None
    image_size: tuple[int, int] = (0, 0)

    @cached_property
    def rays(self) -> np.ndarray:
        """(H * W, 3) unit directions in the camera frame, row by row."""
        h, w = self.image_size
        v, u = np.mgrid[0:h, 0:w].reshape(2, -1).astype(float)
        k = self.intrinsic
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], 1)
        return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


def make_cameras(image_size: tuple[int, int]) -> dict[str, Camera]:
    """The six cameras for images of (height, width)."""
    h, w = image_size
    cameras = {}
    for name, (position, yaw, focal, center, delay) in CAMERAS.items():
        y = np.deg2rad(yaw)
        axes = np.array([[np.sin(y), 0, np.cos(y)], [-np.cos(y), 0, np.sin(y)], [0, -1, 0]])
        sx, sy = w / 1600, h / 900
        intrinsic = np.array(
            [[focal * sx, 0, (center[0] + 0.5) * sx - 0.5], [0, focal * sy, (center[1] + 0.5) * sy - 0.5], [0, 0, 1]]
        )
        cameras[name] = Camera(name, axes @ _tilt(-0.4, 0.2), np.array(position), delay, intrinsic, image_size)
    return cameras


def make_lidar() -> Sensor:
    """LIDAR_TOP: x right, y forward, z up, with nuScenes' slight tilt."""
    axes = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return Sensor('LIDAR_TOP', axes @ _tilt(-0.5, 0.3), LIDAR_POSITION)


def lidar_rays(start: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions (COLUMNS * BEAMS, 3) in the lidar frame and ring numbers, beams fastest; `start` in radians."""
    elevation = np.deg2rad(np.linspace(-30.67, 10.67, BEAMS))
    azimuth = start - np.arange(COLUMNS) * (2 * np.pi / COLUMNS)
    azimuth, elevation = (grid.ravel() for grid in np.meshgrid(azimuth, elevation, indexing='ij'))
    rays = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], 1)
    return rays.astype(np.float32), np.tile(np.arange(BEAMS), COLUMNS)
