"""Settings of a dataset, moments and views of its scenes, and what can be seen from where."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import md5
from pathlib import Path
from uuid import UUID

import numpy as np
from peridot.errors import DataError
from peridot.files import atomic_path
from scipy.spatial.transform import Rotation

from streets.mesh import rotation_z
from streets.raycast import Caster, Snapshot
from streets.rig import (
    CAMERAS,
    PANDASET_CAMERAS,
    Camera,
    make_argoverse2_cameras,
    make_cameras,
    make_kitti_cameras,
    make_pandaset_cameras,
)
from streets.scene import make_world
from streets.taxonomy import SCENES, SEQUENCES
from streets.world import Thing, poses

VERSION = 'v1.0-mini'
PARTIAL = '.partial'
PERIOD = 0.5  # seconds between keyframes
ANNOTATED = 70.0  # meters around the ego vehicle within which objects get boxes
JPEG_QUALITY = 92

View = tuple[Camera, Snapshot]  # a camera and the world at the moment of its shutter


@dataclass(frozen=True)
class Settings:
    """What the content of a dataset depends on.

    Attributes:
        seed: Seed of all random draws.
        keyframes: Keyframes per scene.
        sweeps: Lidar sweeps before each keyframe.
        image_size: (height, width) in pixels.
        format: A name of `formats.FORMATS`.
    """

    seed: int = 0
    keyframes: int = 7
    sweeps: int = 4
    image_size: tuple[int, int] = (396, 704)
    format: str = 'nuscenes'

    def as_dict(self) -> dict:
        """The settings as JSON holds them."""
        return {**asdict(self), 'image_size': list(self.image_size)}


def token(*parts: object) -> str:
    """32 hexadecimal digits that are fixed for each tuple of parts."""
    return md5('/'.join(map(str, parts)).encode()).hexdigest()


def keyframe_time(settings: Settings, scene: int, frame: int) -> float:
    """Seconds from the start of the scene, with a jitter of some milliseconds as real triggers have."""
    jitter = np.random.default_rng([settings.seed, scene, frame, 3]).uniform(0, 0.004)
    return round(frame * PERIOD + jitter, 6)


def timestamp(scene: int, seconds: float) -> int:
    """Microseconds since 1970; scenes are 100 s apart."""
    return 1_532_402_927_000_000 + scene * 100_000_000 + round(seconds * 1e6)


@lru_cache(maxsize=1)
def caster(seed: int, scene: int) -> Caster:
    """The world of a scene, ready for rays; only the last one is kept, as a process works on one scene at a time."""
    return Caster(make_world(seed, scene))


def camera_view(settings: Settings, scene: int, frame: int, channel: str) -> View:
    """The camera `channel` and the world at the moment it takes the keyframe's image."""
    camera = _cameras(settings.format, settings.image_size)[channel]
    now = keyframe_time(settings, scene, frame)
    return camera, caster(settings.seed, scene).at(now + camera.delay)


@lru_cache(maxsize=1)
def _cameras(format: str, image_size: tuple[int, int]) -> dict[str, Camera]:
    """The cameras of a layout, kept with the rays of their pixels."""
    rigs = {
        'nuscenes': make_cameras,
        'folder': make_cameras,
        'pandaset': make_pandaset_cameras,
        'argoverse2': make_argoverse2_cameras,
    }
    return rigs.get(format, make_kitti_cameras)(image_size)


def image_view(settings: Settings, path: str | os.PathLike) -> View:
    """Find the `camera_view` of a stored image by its file name.

    Raises:
        DataError: No keyframe of a dataset with these settings has an image of that name.
    """
    find = {
        'nuscenes': _nuscenes_image,
        'semantickitti': _sequence_image,
        'kitti': _object_image,
        'pandaset': _pandaset_image,
        'folder': _folder_image,
        'argoverse2': _argoverse2_image,
    }
    found = find[settings.format](settings, Path(path))
    if found is None:
        raise DataError(f'{path} is no image of a synthetic dataset with the settings {settings.as_dict()}')
    return camera_view(settings, *found)


def _nuscenes_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """Scene, frame and camera of an image; None where there is no such keyframe."""
    name = re.fullmatch(r'peridot-(.+)__(.+)__(\d+)', path.stem)
    if not name or name[1] not in SCENES or name[2] not in CAMERAS:
        return None
    scene, delay = SCENES.index(name[1]), make_cameras(settings.image_size)[name[2]].delay
    frame = _frame_at(settings, scene, delay, int(name[3]))
    return None if frame is None else (scene, frame, name[2])


def _sequence_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """The same for SemanticKITTI."""
    name = re.search(r'(\d\d)/image_2/(\d{6})$', path.with_suffix('').as_posix())
    if not name or int(name[1]) not in SEQUENCES or int(name[2]) >= settings.keyframes:
        return None
    return SEQUENCES.index(int(name[1])), int(name[2]), 'CAM2'


def _object_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """The same for KITTI's object benchmark."""
    name = re.search(r'training/image_2/(\d{6})$', path.with_suffix('').as_posix())
    if not name or int(name[1]) >= len(SCENES) * settings.keyframes:
        return None
    return (*divmod(int(name[1]), settings.keyframes), 'CAM2')


def _pandaset_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """The same for PandaSet."""
    name = re.search(r'(\d{3})/camera/(\w+)/(\d\d)$', path.with_suffix('').as_posix())
    if not name or name[2] not in PANDASET_CAMERAS:
        return None
    scene, frame = int(name[1]) - 1, int(name[3])
    return (scene, frame, name[2]) if 0 <= scene < len(SCENES) and frame < settings.keyframes else None


def _folder_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """The same for a folder of recordings."""
    name = re.search(r'([^/]+)/images/(\w+)/(\d{6})$', path.with_suffix('').as_posix())
    if not name or name[1] not in SCENES or name[2] not in CAMERAS or int(name[3]) >= settings.keyframes:
        return None
    return SCENES.index(name[1]), int(name[3]), name[2]


def _argoverse2_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """The same for Argoverse 2."""
    name = re.search(r'([\w-]+)/sensors/cameras/(\w+)/(\d+)000$', path.with_suffix('').as_posix())
    logs, cameras = [log_name(scene) for scene in range(len(SCENES))], make_argoverse2_cameras(settings.image_size)
    if not name or name[1] not in logs or name[2] not in cameras:
        return None
    scene = logs.index(name[1])
    frame = _frame_at(settings, scene, cameras[name[2]].delay, int(name[3]))
    return None if frame is None else (scene, frame, name[2])


def log_name(scene: int) -> str:
    """Name of a scene's folder in Argoverse 2, a UUID as there."""
    return str(UUID(token('log', SCENES[scene])))


def _frame_at(settings: Settings, scene: int, delay: float, stamp: int) -> int | None:
    """The keyframe whose camera with this delay has the time stamp (microseconds); None where there is none."""
    frame = round((stamp - timestamp(scene, delay)) / 1e6 / PERIOD)
    if not 0 <= frame < settings.keyframes:
        return None
    exact = timestamp(scene, keyframe_time(settings, scene, frame) + delay) == stamp
    return frame if exact else None


def quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation matrix (3, 3)."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return [w, x, y, z]


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either complete or absent."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def inside_box(points: np.ndarray, thing: Thing, place: np.ndarray, yaw: float, margin: float = 0.0) -> np.ndarray:
    """Find the points in the box of an object.

    Args:
        points: float (N, 3), in the world, meters.
        thing: The object.
        place: float (3,), its position, see `Thing.pose`.
        yaw: Its yaw in radians.
        margin: Meters by which the box is shrunk on every side.

    Returns:
        bool (N,).
    """
    width, length, height = thing.size
    half = np.array([length, width]) / 2 - margin
    # most points are far away
    reach = np.hypot(*half) + 1e-3
    near = np.flatnonzero((abs(points[:, 0] - place[0]) <= reach) & (abs(points[:, 1] - place[1]) <= reach))
    local = (points[near] - place) @ rotation_z(yaw)
    inside = np.zeros(len(points), bool)
    inside[near] = (abs(local[:, :2]) <= half).all(1) & (local[:, 2] >= margin) & (local[:, 2] <= height - margin)
    return inside


def visible_fractions(things: list[Thing], views: list[View], samples: int = 48) -> np.ndarray:
    """Measure how much of each object the cameras see, each at its own moment.

    Rays run from each camera to points on the surface of the object. Those within the image count, and are visible
    if the object is what they hit first.

    Args:
        things: T objects.
        views: The cameras.
        samples: Points per object.

    Returns:
        float64 (T,), fraction in [0, 1].
    """
    seen, total = np.zeros(len(things)), np.zeros(len(things))
    if not things:
        return seen
    spots = [_surface_points(thing, samples) for thing in things]
    numbers = np.repeat([thing.number for thing in things], samples)
    owner = np.repeat(np.arange(len(things)), samples)
    for camera, snapshot in views:
        position, rotation = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
        placed = zip(spots, *poses(things, snapshot.layout, snapshot.time))
        targets = np.concatenate([spot @ rotation_z(yaw).T + place for spot, place, yaw in placed])
        inside = in_image(targets, camera, position, rotation)
        ray = targets[inside] - position
        hits = snapshot.hit(position, ray / np.linalg.norm(ray, axis=1, keepdims=True))
        own = snapshot.labels(hits)[1] == numbers[inside]
        total += np.bincount(owner[inside], minlength=len(things))
        seen += np.bincount(owner[inside], weights=own, minlength=len(things))
    return seen / np.maximum(total, 1)


def in_image(points: np.ndarray, camera: Camera, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Find the points that project into an image, whether or not something hides them.

    Args:
        points: float (N, 3), in the world, meters.
        camera: The camera.
        position: float (3,), of the camera in the world, meters.
        rotation: float (3, 3), camera2world.

    Returns:
        bool (N,).
    """
    local = (points - position) @ rotation
    pixel = local @ camera.intrinsic.T
    h, w = camera.image_size
    with np.errstate(divide='ignore', invalid='ignore'):
        u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
    return (local[:, 2] > 0.3) & (u > -0.5) & (u < w - 0.5) & (v > -0.5) & (v < h - 0.5)


def _surface_points(thing: Thing, samples: int) -> np.ndarray:
    """Draw points on the faces of an object, evenly by area: float64 (samples, 3), in its own frame."""
    rng = np.random.default_rng(thing.number)
    corner = thing.mesh.vertices.astype(float)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    face = corner[rng.choice(len(area), samples, p=area / area.sum())]
    weight = rng.dirichlet(np.ones(3), samples)
    return (face * weight[..., None]).sum(1)
