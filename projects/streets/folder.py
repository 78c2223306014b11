"""Keyframes as a folder of recordings, one for each scene, with points and pixels of the nuScenes layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from peridot.catalog.nuscenes import NUSCENES

from streets.frame import Settings, camera_view, caster, keyframe_time, quaternion, timestamp, write_atomic
from streets.nuscenes import key_sweep, photo_code
from streets.rig import CAMERAS, Sensor, make_cameras, make_lidar
from streets.taxonomy import SCENES, VAL_SCENES


def make_folder_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store points, labels and images of a keyframe.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        scene: Number of the scene.
        frame: Number of the keyframe in the scene.

    Returns:
        A record for `finish_folder`: seconds by file, and by second the vehicle's pose x, y, z, qx, qy, qz, qw.
    """
    folder, name = root / SCENES[scene], f'{frame:06d}'
    snapshot = caster(settings.seed, scene).at(keyframe_time(settings, scene, frame))
    sweep = key_sweep(snapshot, settings, scene, frame)
    write_atomic(folder / 'points' / f'{name}.bin', sweep.points.tobytes())
    write_atomic(folder / 'labels' / f'{name}.label', sweep.category.astype(np.uint32).tobytes())
    shutters = {f'points/{name}.bin': snapshot}
    for number, channel in enumerate(CAMERAS):
        view = camera_view(settings, scene, frame, channel)
        path = f'images/{channel}/{name}.jpg'
        write_atomic(folder / path, photo_code(view, settings, scene, frame, number))
        shutters[path] = view[1]
    times = {path: timestamp(scene, moment.time) / 1e6 for path, moment in shutters.items()}
    poses = {times[path]: _pose(*moment.world.ego_pose(moment.time)) for path, moment in shutters.items()}
    return {'times': times, 'poses': sorted(poses.items())}


def finish_folder(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write calibration, times and poses of every recording, and the names of the labels.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        records: What `make_folder_frame` returned for each scene and keyframe.
    """
    for scene, frames in enumerate(records):
        folder = root / SCENES[scene]
        times = [f'{path},{time!r}' for frame in frames for path, time in frame['times'].items()]
        poses = sorted((time, *pose) for frame in frames for time, pose in frame['poses'])
        write_atomic(folder / 'timestamps.csv', _lines(['file,time', *times]))
        write_atomic(
            folder / 'poses.csv',
            _lines(['time,x,y,z,qx,qy,qz,qw', *(','.join(map(repr, row)) for row in poses)]),
        )
        write_atomic(folder / 'calibration.json', json.dumps(calibration(settings), indent=1).encode())
    classes = {str(raw): item.name for item in NUSCENES.classes for raw in item.raw_ids}
    classes |= {str(raw): None for raw in NUSCENES.ignored_ids}
    write_atomic(root / 'classes.json', json.dumps(classes, indent=1).encode())


def calibration(settings: Settings) -> dict:
    """Content of `calibration.json`."""
    lidar2ego = _matrix(make_lidar())
    cameras = {
        name: {
            'intrinsics': camera.intrinsic.tolist(),
            'lidar2cam': (np.linalg.inv(_matrix(camera)) @ lidar2ego).tolist(),
        }
        for name, camera in make_cameras(settings.image_size).items()
    }
    lidar = {
        'columns': ['x', 'y', 'z', 'intensity', 'ring'],
        'dtype': 'float32',
        'intensity_range': [0, 255],
        'lidar2ego': lidar2ego.tolist(),
    }
    return {'lidar': lidar, 'cameras': cameras}


def validation(root: Path) -> dict:
    """Options of the converter: the recordings for validation that exist."""
    return {'val': [scene for scene in VAL_SCENES if (root / scene).is_dir()]}


def _pose(place: np.ndarray, turn: np.ndarray) -> list[float]:
    w, x, y, z = quaternion(turn)
    return [*place.tolist(), x, y, z, w]


def _matrix(sensor: Sensor) -> np.ndarray:
    """Sensor to ego, (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = sensor.rotation, sensor.position
    return matrix


def _lines(lines: list[str]) -> bytes:
    """Content of a text file."""
    return ''.join(f'{line}\n' for line in lines).encode()
