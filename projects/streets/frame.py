"""Moments and views of a scene, and everything that belongs to one keyframe in nuScenes' layout."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import md5
from pathlib import Path

import cv2
import numpy as np
from peridot.errors import DataError
from peridot.files import atomic_path
from scipy.spatial.transform import Rotation

from streets.camera import take_photo
from streets.layout import REACH, S_RANGE, ground
from streets.lidar import Sweep, take_sweep
from streets.mesh import rotation_z
from streets.raycast import Caster, Snapshot
from streets.rig import (
    CAMERAS,
    PANDASET_CAMERAS,
    Camera,
    make_cameras,
    make_kitti_cameras,
    make_lidar,
    make_pandaset_cameras,
)
from streets.taxonomy import INDEX, SCENES, SEQUENCES, visibility_token
from streets.world import Thing, World, make_world

VERSION = 'v1.0-mini'
PARTIAL = '.partial'
PERIOD = 0.5  # seconds between keyframes
ANNOTATED = 70.0  # metres around the ego vehicle within which objects get boxes
JPEG_QUALITY = 92
MAP_RESOLUTION = 0.1  # metres, what nuscenes-devkit assumes

View = tuple[Camera, Snapshot]  # a camera and the world at the moment of its shutter


@dataclass(frozen=True)
class Settings:
    """What decides about the content of a dataset; `image_size` is (height, width), `format` a name of `FORMATS`."""

    seed: int = 0
    keyframes: int = 7
    sweeps: int = 4
    image_size: tuple[int, int] = (396, 704)
    format: str = 'nuscenes'

    def as_dict(self) -> dict:
        return {**asdict(self), 'image_size': list(self.image_size)}


def token(*parts) -> str:
    """32 hexadecimal digits, fixed for each tuple of parts."""
    return md5('/'.join(map(str, parts)).encode()).hexdigest()


def keyframe_time(settings: Settings, scene: int, frame: int) -> float:
    """Seconds from the scene's start, with a jitter of some milliseconds as real triggers have."""
    jitter = np.random.default_rng([settings.seed, scene, frame, 3]).uniform(0, 0.004)
    return round(frame * PERIOD + jitter, 6)


def timestamp(scene: int, seconds: float) -> int:
    """Microseconds since 1970; scenes are 100 s apart."""
    return 1_532_402_927_000_000 + scene * 100_000_000 + round(seconds * 1e6)


@lru_cache(maxsize=1)
def caster(seed: int, scene: int) -> Caster:
    """The world of a scene, ready for rays; a process works on one scene at a time."""
    return Caster(make_world(seed, scene))


def camera_view(settings: Settings, scene: int, frame: int, channel: str) -> View:
    """A camera and the world at the moment it takes the keyframe's image."""
    cameras = {'nuscenes': make_cameras, 'pandaset': make_pandaset_cameras}.get(settings.format, make_kitti_cameras)
    camera = cameras(settings.image_size)[channel]
    now = keyframe_time(settings, scene, frame)
    return camera, caster(settings.seed, scene).at(now + camera.delay)


def image_view(settings: Settings, path: str | os.PathLike) -> View:
    """`camera_view` of a stored image, by its file name.

    Raises:
        DataError: No keyframe of a dataset with these settings has an image of that name.
    """
    find = {
        'nuscenes': _nuscenes_image,
        'semantickitti': _sequence_image,
        'kitti': _object_image,
        'pandaset': _pandaset_image,
    }
    found = find[settings.format](settings, Path(path))
    if found is None:
        raise DataError(f'{path} is no image of a synthetic dataset with the settings {settings.as_dict()}')
    return camera_view(settings, *found)


def _nuscenes_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    """Scene, frame and camera of an image, None where there is no such keyframe."""
    name = re.fullmatch(r'peridot-(.+)__(.+)__(\d+)', path.stem)
    if not name or name[1] not in SCENES or name[2] not in CAMERAS:
        return None
    scene, channel, stamp = SCENES.index(name[1]), name[2], int(name[3])
    delay = make_cameras(settings.image_size)[channel].delay
    frame = round((stamp - timestamp(scene, delay)) / 1e6 / PERIOD)
    if not 0 <= frame < settings.keyframes:
        return None
    exact = timestamp(scene, keyframe_time(settings, scene, frame) + delay) == stamp
    return (scene, frame, channel) if exact else None


def _sequence_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    name = re.search(r'(\d\d)/image_2/(\d{6})$', path.with_suffix('').as_posix())
    if not name or int(name[1]) not in SEQUENCES or int(name[2]) >= settings.keyframes:
        return None
    return SEQUENCES.index(int(name[1])), int(name[2]), 'CAM2'


def _object_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    name = re.search(r'training/image_2/(\d{6})$', path.with_suffix('').as_posix())
    if not name or int(name[1]) >= len(SCENES) * settings.keyframes:
        return None
    return (*divmod(int(name[1]), settings.keyframes), 'CAM2')


def _pandaset_image(settings: Settings, path: Path) -> tuple[int, int, str] | None:
    name = re.search(r'(\d{3})/camera/(\w+)/(\d\d)$', path.with_suffix('').as_posix())
    if not name or name[2] not in PANDASET_CAMERAS:
        return None
    scene, frame = int(name[1]) - 1, int(name[3])
    return (scene, frame, name[2]) if 0 <= scene < len(SCENES) and frame < settings.keyframes else None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either complete or absent."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def make_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store a keyframe's images, sweeps and labels (and the scene's map, with its first one); return its record."""
    scenery = caster(settings.seed, scene)
    world = scenery.world
    origin = map_origin(world)
    if frame == 0:
        write_map(root, world, scene, origin)
    now = keyframe_time(settings, scene, frame)
    step = PERIOD / (settings.sweeps + 1)
    data = []
    for back in range(settings.sweeps, 0, -1):
        data.append(_sweep(root, settings, scenery.at(now - back * step), scene, (frame, back), origin)[0])
    snapshot = scenery.at(now)
    lidar_record, sweep = _sweep(root, settings, snapshot, scene, (frame, 0), origin)
    data.append(lidar_record)
    views = [camera_view(settings, scene, frame, channel) for channel in CAMERAS]
    data += _photos(root, settings, views, scene, frame, origin)
    return {
        'scene': scene,
        'frame': frame,
        'timestamp': timestamp(scene, now),
        'description': f'{world.layout.kind}, {2 * world.layout.lanes} lanes',
        'data': data,
        'annotations': _annotations(snapshot, views, sweep, origin),
    }


def _file(scene: int, channel: str, stamp: int, key: bool, suffix: str) -> str:
    folder = 'samples' if key else 'sweeps'
    return f'{folder}/{channel}/peridot-{SCENES[scene]}__{channel}__{stamp}{suffix}'


def _sensor_record(
    world: World, settings, scene: int, channel: str, seconds: float, key: bool, origin, suffix: str
) -> dict:
    place, turn = world.ego_pose(seconds)
    stamp = timestamp(scene, seconds)
    return {
        'token': token(settings.seed, scene, channel, stamp),
        'channel': channel,
        'timestamp': stamp,
        'is_key_frame': key,
        'filename': _file(scene, channel, stamp, key, suffix),
        'translation': (place + origin).tolist(),
        'rotation': quaternion(turn),
    }


def quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation matrix (3, 3)."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return [w, x, y, z]


def _sweep(root: Path, settings: Settings, snapshot: Snapshot, scene: int, number: tuple[int, int], origin):
    """Scan, store the points and, for keyframes (number[1] == 0), the labels."""
    key = number[1] == 0
    record = _sensor_record(snapshot.world, settings, scene, 'LIDAR_TOP', snapshot.time, key, origin, '.pcd.bin')
    sweep = take_sweep(snapshot, np.random.default_rng([settings.seed, scene, *number, 11]))
    write_atomic(root / record['filename'], sweep.points.tobytes())
    if key:
        write_atomic(root / 'lidarseg' / VERSION / f'{record["token"]}_lidarseg.bin', sweep.category.tobytes())
    return record, sweep


def _photos(root: Path, settings: Settings, views: list[View], scene: int, frame: int, origin) -> list[dict]:
    records = []
    for number, (camera, snapshot) in enumerate(views):
        record = _sensor_record(snapshot.world, settings, scene, camera.name, snapshot.time, True, origin, '.jpg')
        rng = np.random.default_rng([settings.seed, scene, frame, number, 13])
        image = take_photo(snapshot, camera, rng).image
        _, code = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_atomic(root / record['filename'], code.tobytes())
        records.append(record)
    return records


def _annotations(snapshot: Snapshot, views: list[View], sweep: Sweep, origin) -> list[dict]:
    """Boxes of all objects around the ego vehicle, at the lidar's time."""
    world, now = snapshot.world, snapshot.time
    ego = world.ego_pose(now)[0]
    near = []
    for thing in world.things:
        place, yaw = thing.pose(world.layout, now)
        if np.hypot(*(place - ego)[:2]) < ANNOTATED:
            near.append((thing, place, yaw))
    shares = visible_shares([thing for thing, _, _ in near], views)
    position, rotation = make_lidar().world_pose(world.ego_pose(now))
    points = sweep.points[:, :3].astype(float) @ rotation.T + position
    return [
        {
            'number': thing.number,
            'category': thing.category,
            'attribute': thing.attribute,
            'translation': (place + origin + (0, 0, thing.size[2] / 2)).tolist(),
            'size': list(thing.size),
            'rotation': quaternion(rotation_z(yaw)),
            'visibility': visibility_token(share),
            'num_lidar_pts': int(inside_box(points, thing, place, yaw).sum()),
        }
        for (thing, place, yaw), share in zip(near, shares)
    ]


def inside_box(points: np.ndarray, thing: Thing, place: np.ndarray, yaw: float, margin: float = 0.0) -> np.ndarray:
    """(N,) whether world points (N, 3) lie in an object's box, shrunk by `margin` metres on every side."""
    width, length, height = thing.size
    local = (points - place) @ rotation_z(yaw)
    half = np.array([length, width]) / 2 - margin
    return (abs(local[:, :2]) <= half).all(1) & (local[:, 2] >= margin) & (local[:, 2] <= height - margin)


def visible_shares(things: list[Thing], views: list[View], samples: int = 48) -> np.ndarray:
    """(T,) share 0..1 of each object that the cameras see, each at its own moment.

    Rays run from each camera to points spread over the object's surface; a ray that would hit the object if it stood
    alone counts, and is visible if the object is what it hits first.
    """
    seen, total = np.zeros(len(things)), np.zeros(len(things))
    if not things:
        return seen
    spots = [_surface_points(thing, samples) for thing in things]
    numbers = np.repeat([thing.number for thing in things], samples)
    owner = np.repeat(np.arange(len(things)), samples)
    for camera, snapshot in views:
        position, rotation = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
        poses = [thing.pose(snapshot.layout, snapshot.time) for thing in things]
        targets = np.concatenate([spot @ rotation_z(yaw).T + place for spot, (place, yaw) in zip(spots, poses)])
        inside = in_image(targets, camera, position, rotation)
        ray = targets[inside] - position
        hits = snapshot.hit(position, ray / np.linalg.norm(ray, axis=1, keepdims=True))
        own = snapshot.labels(hits)[1] == numbers[inside]
        total += np.bincount(owner[inside], minlength=len(things))
        seen += np.bincount(owner[inside], weights=own, minlength=len(things))
    return seen / np.maximum(total, 1)


def in_image(points: np.ndarray, camera: Camera, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(N,) whether world points project into the image."""
    local = (points - position) @ rotation
    pixel = local @ camera.intrinsic.T
    h, w = camera.image_size
    with np.errstate(divide='ignore', invalid='ignore'):
        u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
    return (local[:, 2] > 0.3) & (u > -0.5) & (u < w - 0.5) & (v > -0.5) & (v < h - 0.5)


def _surface_points(thing: Thing, samples: int) -> np.ndarray:
    """(samples, 3) points on an object's faces, spread by area, in its own frame."""
    rng = np.random.default_rng(thing.number)
    corner = thing.mesh.vertices.astype(float)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    face = corner[rng.choice(len(area), samples, p=area / area.sum())]
    weight = rng.dirichlet(np.ones(3), samples)
    return (face * weight[..., None]).sum(1)


def map_origin(world: World) -> np.ndarray:
    """(3,) shift from the scene's own frame to nuScenes' global frame, in which the map starts at (0, 0)."""
    s, d = np.meshgrid(np.linspace(*S_RANGE, 50), [-REACH, REACH])
    return np.append(-world.layout.place(s, d)[..., :2].reshape(-1, 2).min(0), 0.0)


def map_file(scene: int) -> str:
    """Path of a scene's map below the dataset's root."""
    return f'maps/{token("map", scene)}.png'


def write_map(root: Path, world: World, scene: int, origin: np.ndarray) -> None:
    """Store a mask (255 = road or sidewalk) at 0.1 m, north up, as the map table wants it."""
    mesh = ground(world.layout)
    corners = (mesh.vertices[:, :, :2] + origin[:2].astype(np.float32)) / MAP_RESOLUTION
    w, h = np.ceil(corners.reshape(-1, 2).max(0)).astype(int)
    mask = np.zeros((h, w), np.uint8)
    useful = np.isin(mesh.category, (INDEX['flat.driveable_surface'], INDEX['flat.sidewalk']))
    corners[..., 1] = h - corners[..., 1]
    for triangle in np.rint(corners[useful]).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 255)
    write_atomic(root / map_file(scene), cv2.imencode('.png', mask)[1].tobytes())
