"""The sensor rigs: poses, intrinsics and delays of lidars and cameras, close to those of the real vehicles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

# name: (position in the ego frame in meters, yaw in degrees, focal length, principal point, delay in seconds);
# focal lengths and principal points are in pixels of 1600x900
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
KITTI_LIDAR_POSITION = np.array([0.76, 0.0, 1.73])
KITTI_BEAMS = 64
KITTI_COLUMNS = 1024  # half of a Velodyne HDL-64E's: a demo needs less
KITTI_CAMERA_POSITION = np.array([1.03, 0.0, 1.65])  # of camera 0, to which calibrations and boxes refer
KITTI_FOCAL, KITTI_CENTER, KITTI_IMAGE = 721.5, (609.6, 172.9), (375, 1242)
# from camera 0's frame to the frames of cameras 0 to 3, meters
KITTI_SHIFTS = np.array([[0.0, 0.0, 0.0], [-0.537, 0.0, 0.0], [0.0622, -0.0003, 0.0027], [-0.4703, 0.0033, 0.0027]])
# PandaSet's cameras stand where nuScenes' stand that look the same way
PANDASET_CAMERAS = {
    'back_camera': 'CAM_BACK',
    'front_camera': 'CAM_FRONT',
    'front_left_camera': 'CAM_FRONT_LEFT',
    'front_right_camera': 'CAM_FRONT_RIGHT',
    'left_camera': 'CAM_BACK_LEFT',
    'right_camera': 'CAM_BACK_RIGHT',
}
PANDASET_LIDARS = ('pandar64', 'pandargt')  # row = number of the lidar
PANDAR64_COLUMNS = 900  # half of a Pandar64's
PANDARGT_BEAMS, PANDARGT_COLUMNS, PANDARGT_SECTOR = 60, 1500, 60.0
# Argoverse 2's cameras as nuScenes' above, but in the frame of its vehicle, whose origin is the rear axle, and focal
# length and principal point in pixels of 2048x1550, for the front camera of 1550x2048
ARGOVERSE2_CAMERAS = {
    'ring_front_center': ((1.631, -0.001, 1.433), 0.3, 1773.5, (775.8, 1020.8), -0.0098),
    'ring_front_left': ((1.550, 0.198, 1.431), 45.3, 1682.0, (1025.1, 779.6), -0.0223),
    'ring_front_right': ((1.554, -0.194, 1.431), -44.8, 1684.8, (1024.4, 776.7), 0.0027),
    'ring_rear_left': ((1.104, 0.124, 1.446), 153.3, 1686.5, (1025.7, 773.9), -0.0023),
    'ring_rear_right': ((1.103, -0.128, 1.428), -152.9, 1683.4, (1024.4, 775.9), -0.0173),
    'ring_side_left': ((1.310, 0.268, 1.433), 99.2, 1684.9, (1027.8, 776.5), 0.0127),
    'ring_side_right': ((1.310, -0.273, 1.436), -98.9, 1682.9, (1024.9, 775.1), 0.0178),
}
ARGOVERSE2_IMAGE = (1550, 2048)
ARGOVERSE2_AXLE = np.array([0.0, 0.0, 0.33])  # of the rear axle in the ego frame
ARGOVERSE2_LIDARS = ('up_lidar', 'down_lidar')
ARGOVERSE2_COLUMNS = 900  # half of a VLP-32C's
REACH = (0.6, 95.0)  # nearest and farthest return, meters


def tilt(roll: float, pitch: float) -> np.ndarray:
    """Rotation matrix (3, 3): roll about x after pitch about y, both in degrees."""
    r, p = np.deg2rad([roll, pitch])
    about_x = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    about_y = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    return about_x @ about_y


@dataclass(frozen=True)
class Sensor:
    """A mounted sensor.

    Attributes:
        name: Its channel.
        rotation: float64 (3, 3), sensor2ego.
        position: float64 (3,), in the ego frame, meters.
        delay: Seconds after the keyframe's time at which it measures.
    """

    name: str
    rotation: np.ndarray
    position: np.ndarray
    delay: float = 0.0

    def world_pose(self, ego: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) sensor2world for an ego pose (position, rotation)."""
        place, turn = ego
        return place + turn @ self.position, turn @ self.rotation


@dataclass(frozen=True)
class Camera(Sensor):
    """A pinhole camera: x right, y down, z forward; integer positions are pixel centers.

    Attributes:
        intrinsic: float64 (3, 3), in pixels.
        image_size: (height, width) in pixels.
    """

    intrinsic: np.ndarray = None
    image_size: tuple[int, int] = (0, 0)

    @cached_property
    def rays(self) -> np.ndarray:
        """Unit directions of the pixels in the camera frame, row by row, float32 (H * W, 3)."""
        h, w = self.image_size
        v, u = np.mgrid[0:h, 0:w].reshape(2, -1).astype(float)
        k = self.intrinsic
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], 1)
        return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Lidar(Sensor):
    """A rotating lidar.

    Attributes:
        elevations: float64 (B,), of its beams, degrees.
        columns: How often the beams fire in a revolution.
        sector: Degrees around the x axis in which they fire.
    """

    elevations: np.ndarray = None
    columns: int = 0
    sector: float = 360.0

    def rays(self, start: float) -> tuple[np.ndarray, np.ndarray]:
        """Directions and rings of a revolution that starts at azimuth `start` (radians).

        Returns:
            float32 (N, 3), unit directions in the lidar frame, beam after beam of each column; and int64 (N,), ring.
        """
        beams = len(self.elevations)
        azimuth = start - np.arange(self.columns) * (2 * np.pi / self.columns)
        if self.sector < 360:
            azimuth = azimuth[np.cos(azimuth) > np.cos(np.deg2rad(self.sector / 2))]
        azimuth, elevation = (x.ravel() for x in np.meshgrid(azimuth, np.deg2rad(self.elevations), indexing='ij'))
        rays = np.stack(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], 1
        )
        return rays.astype(np.float32), np.tile(np.arange(beams), len(rays) // beams)


def make_cameras(image_size: tuple[int, int]) -> dict[str, Camera]:
    """nuScenes' six cameras for images of (height, width)."""
    h, w = image_size
    cameras = {}
    for name, (position, yaw, focal, center, delay) in CAMERAS.items():
        intrinsic = _intrinsic(focal, center, w / 1600, h / 900)
        rotation = _camera_axes(yaw) @ tilt(-0.4, 0.2)
        cameras[name] = Camera(name, rotation, np.array(position), delay, intrinsic, image_size)
    return cameras


def make_kitti_cameras(image_size: tuple[int, int]) -> dict[str, Camera]:
    """KITTI's four parallel cameras CAM0 to CAM3 in front, rectified, for images of (height, width)."""
    h, w = image_size
    intrinsic = _intrinsic(KITTI_FOCAL, KITTI_CENTER, w / KITTI_IMAGE[1], h / KITTI_IMAGE[0])
    rotation = _camera_axes(0.4) @ tilt(0.5, -0.3)
    places = KITTI_CAMERA_POSITION - KITTI_SHIFTS @ rotation.T
    return {f'CAM{i}': Camera(f'CAM{i}', rotation, place, 0.0, intrinsic, image_size) for i, place in enumerate(places)}


def make_pandaset_cameras(image_size: tuple[int, int]) -> dict[str, Camera]:
    """PandaSet's six cameras for images of (height, width)."""
    cameras = make_cameras(image_size)
    return {name: replace(cameras[place], name=name) for name, place in PANDASET_CAMERAS.items()}


def make_argoverse2_cameras(image_size: tuple[int, int]) -> dict[str, Camera]:
    """Argoverse 2's seven ring cameras for images of (height, width); those of the front camera stand upright."""
    cameras = {}
    for name, (position, yaw, focal, center, delay) in ARGOVERSE2_CAMERAS.items():
        turned = -1 if name == 'ring_front_center' else 1
        (h, w), (full_h, full_w) = image_size[::turned], ARGOVERSE2_IMAGE[::turned]
        intrinsic = _intrinsic(focal, center, w / full_w, h / full_h)
        rotation, place = _camera_axes(yaw) @ tilt(0.3, -0.2), ARGOVERSE2_AXLE + position
        cameras[name] = Camera(name, rotation, place, delay, intrinsic, (h, w))
    return cameras


def _camera_axes(yaw: float) -> np.ndarray:
    """Rotation (3, 3) camera2ego of a level camera that looks `yaw` degrees to the left."""
    y = np.deg2rad(yaw)
    return np.array([[np.sin(y), 0, np.cos(y)], [-np.cos(y), 0, np.sin(y)], [0, -1, 0]])


def _intrinsic(focal: float, center: tuple[float, float], sx: float, sy: float) -> np.ndarray:
    """Intrinsic matrix (3, 3) after the image is resized by factors `sx` and `sy`."""
    return np.array(
        [[focal * sx, 0, (center[0] + 0.5) * sx - 0.5], [0, focal * sy, (center[1] + 0.5) * sy - 0.5], [0, 0, 1]]
    )


def make_lidar() -> Lidar:
    """nuScenes' LIDAR_TOP: x right, y forward, z up, slightly tilted."""
    axes = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    elevations = np.linspace(-30.67, 10.67, BEAMS)
    return Lidar('LIDAR_TOP', axes @ tilt(-0.5, 0.3), LIDAR_POSITION, 0.0, elevations, COLUMNS)


def make_kitti_lidar() -> Lidar:
    """KITTI's lidar: x forward, y left, z up; beams from 24.8 degrees below the horizon to 2 above."""
    elevations = np.linspace(-24.8, 2.0, KITTI_BEAMS)
    return Lidar('VELODYNE', tilt(0.3, 0.4), KITTI_LIDAR_POSITION, 0.0, elevations, KITTI_COLUMNS)


def make_pandaset_lidars() -> dict[str, Lidar]:
    """PandaSet's Pandar64 on the roof and PandarGT below it, facing forward; both x forward, y left, z up."""
    elevations = np.linspace(-25.0, 15.0, KITTI_BEAMS), np.linspace(-10.0, 10.0, PANDARGT_BEAMS)
    roof, front = np.array([0.8, 0.0, 1.9]), np.array([1.5, 0.0, 1.7])
    return {
        'pandar64': Lidar('pandar64', tilt(0.2, -0.3), roof, 0.0, elevations[0], PANDAR64_COLUMNS),
        'pandargt': Lidar('pandargt', tilt(-0.3, 0.4), front, 0.0, elevations[1], PANDARGT_COLUMNS, PANDARGT_SECTOR),
    }


def make_argoverse2_lidars() -> dict[str, Lidar]:
    """Argoverse 2's two lidars of 32 beams on the roof, one upside down below the other."""
    elevations = np.linspace(-25.0, 15.0, BEAMS)
    mounts = (tilt(0.1, -0.2), (1.350, 0.0, 1.640)), (tilt(180.2, 0.3), (1.355, 0.0, 1.565))
    return {
        name: Lidar(name, rotation, ARGOVERSE2_AXLE + position, 0.0, elevations, ARGOVERSE2_COLUMNS)
        for name, (rotation, position) in zip(ARGOVERSE2_LIDARS, mounts)
    }
