"""Keyframes in the layout of nuScenes: images, sweeps, lidarseg labels, boxes and a map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streets.camera import take_photo
from streets.frame import (
    ANNOTATED,
    JPEG_QUALITY,
    PERIOD,
    VERSION,
    Settings,
    View,
    camera_view,
    caster,
    inside_box,
    keyframe_time,
    quaternion,
    timestamp,
    token,
    visible_fractions,
    write_atomic,
)
from streets.layout import REACH, S_RANGE, ground
from streets.lidar import Sweep, take_sweep
from streets.mesh import rotation_z
from streets.raycast import Snapshot
from streets.rig import CAMERAS, make_lidar
from streets.taxonomy import INDEX, SCENES, visibility_token
from streets.world import World, poses

MAP_RESOLUTION = 0.1  # meters per pixel, which nuscenes-devkit assumes


def make_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store images, sweeps and labels of a keyframe and, with the first one, the map of the scene.

    Args:
        root: Folder of the dataset.
        settings: Settings of the dataset.
        scene: Number of the scene.
        frame: Number of the keyframe in the scene.

    Returns:
        A record for `tables.write_tables`, which JSON can hold: time stamps in microseconds, `data` of all sensors
        (file, ego pose), `annotations` (boxes in the global frame, meters).
    """
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
    """Path of a recording below the dataset's root."""
    folder = 'samples' if key else 'sweeps'
    return f'{folder}/{channel}/peridot-{SCENES[scene]}__{channel}__{stamp}{suffix}'


def _sensor_record(
    snapshot: Snapshot, settings: Settings, scene: int, channel: str, key: bool, origin: np.ndarray, suffix: str
) -> dict:
    """Time stamp, file and ego pose of a recording at the snapshot's time."""
    world, seconds = snapshot.world, snapshot.time
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


def _sweep(
    root: Path, settings: Settings, snapshot: Snapshot, scene: int, number: tuple[int, int], origin: np.ndarray
) -> tuple[dict, Sweep]:
    """Store a sweep with its labels, if it belongs to a keyframe; `number` is (keyframe, sweeps before it)."""
    key = number[1] == 0
    record = _sensor_record(snapshot, settings, scene, 'LIDAR_TOP', key, origin, '.pcd.bin')
    sweep = _take_sweep(snapshot, settings, scene, number)
    write_atomic(root / record['filename'], sweep.points.tobytes())
    if key:
        write_atomic(root / 'lidarseg' / VERSION / f'{record["token"]}_lidarseg.bin', sweep.category.tobytes())
    return record, sweep


def key_sweep(snapshot: Snapshot, settings: Settings, scene: int, frame: int) -> Sweep:
    """The sweep of a keyframe, taken at the snapshot's time."""
    return _take_sweep(snapshot, settings, scene, (frame, 0))


def photo_code(view: View, settings: Settings, scene: int, frame: int, number: int) -> bytes:
    """The image of a keyframe's camera, the `number`-th, as a JPEG file."""
    rng = np.random.default_rng([settings.seed, scene, frame, number, 13])
    image = take_photo(view[1], view[0], rng).image
    _, code = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return code.tobytes()


def _take_sweep(snapshot: Snapshot, settings: Settings, scene: int, number: tuple[int, int]) -> Sweep:
    return take_sweep(snapshot, np.random.default_rng([settings.seed, scene, *number, 11]))


def _photos(
    root: Path, settings: Settings, views: list[View], scene: int, frame: int, origin: np.ndarray
) -> list[dict]:
    """Store the images of all cameras; return their records."""
    records = []
    for number, (camera, snapshot) in enumerate(views):
        record = _sensor_record(snapshot, settings, scene, camera.name, True, origin, '.jpg')
        write_atomic(root / record['filename'], photo_code((camera, snapshot), settings, scene, frame, number))
        records.append(record)
    return records


def _annotations(snapshot: Snapshot, views: list[View], sweep: Sweep, origin: np.ndarray) -> list[dict]:
    """Boxes of all objects around the ego vehicle at the lidar's time."""
    world, now = snapshot.world, snapshot.time
    ego = world.ego_pose(now)[0]
    near = []
    for thing, place, yaw in zip(world.things, *poses(world.things, world.layout, now)):
        if np.hypot(*(place - ego)[:2]) < ANNOTATED:
            near.append((thing, place, yaw))
    fractions = visible_fractions([thing for thing, _, _ in near], views)
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
            'visibility': visibility_token(fraction),
            'num_lidar_pts': int(inside_box(points, thing, place, yaw).sum()),
        }
        for (thing, place, yaw), fraction in zip(near, fractions)
    ]


def map_origin(world: World) -> np.ndarray:
    """Shift from the scene's own frame to the global one, in which the map starts at (0, 0); (3,), meters."""
    s, d = np.meshgrid(np.linspace(*S_RANGE, 50), [-REACH, REACH])
    return np.append(-world.layout.place(s, d)[..., :2].reshape(-1, 2).min(0), 0.0)


def map_file(scene: int) -> str:
    """Path of a scene's map below the dataset's root."""
    return f'maps/{token("map", scene)}.png'


def write_map(root: Path, world: World, scene: int, origin: np.ndarray) -> None:
    """Store the map of a scene: a mask (255 = road or sidewalk), 0.1 m per pixel, north up.

    Args:
        root: Folder of the dataset.
        world: The scene.
        scene: Its number.
        origin: float (3,), see `map_origin`.
    """
    mesh = ground(world.layout)
    corners = (mesh.vertices[:, :, :2] + origin[:2].astype(np.float32)) / MAP_RESOLUTION
    w, h = np.ceil(corners.reshape(-1, 2).max(0)).astype(int)
    mask = np.zeros((h, w), np.uint8)
    useful = np.isin(mesh.category, (INDEX['flat.driveable_surface'], INDEX['flat.sidewalk']))
    corners[..., 1] = h - corners[..., 1]
    for triangle in np.rint(corners[useful]).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 255)
    write_atomic(root / map_file(scene), cv2.imencode('.png', mask)[1].tobytes())
