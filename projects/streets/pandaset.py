"""Keyframes in the layout of PandaSet: world points of two lidars in one table, six cameras, poses in the world."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import cv2
import numpy as np

from streets.camera import take_photo
from streets.frame import (
    JPEG_QUALITY,
    Settings,
    camera_view,
    caster,
    keyframe_time,
    quaternion,
    timestamp,
    write_atomic,
)
from streets.lidar import Sweep, take_sweep
from streets.raycast import Snapshot
from streets.rig import PANDASET_CAMERAS, PANDASET_LIDARS, make_pandaset_cameras, make_pandaset_lidars
from streets.taxonomy import CATEGORIES, PANDASET, SCENES, VAL_SCENES

# x to the left, y backward: the frame of the poses of the lidar
VEHICLE_AXES = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
# where sequences begin: San Francisco for training, El Camino Real for validation
LATITUDES = {'train': 37.776, 'val': 37.394}
CLASSES = {
    '4': 'Reflection',
    '5': 'Vegetation',
    '6': 'Ground',
    '7': 'Road',
    '11': 'Sidewalk',
    '13': 'Car',
    '15': 'Medium-sized Truck',
    '17': 'Towed Object',
    '18': 'Motorcycle',
    '19': 'Other Vehicle - Construction Vehicle',
    '22': 'Emergency Vehicle',
    '23': 'Bus',
    '24': 'Personal Mobility Device',
    '26': 'Bicycle',
    '30': 'Pedestrian',
    '31': 'Pedestrian with Object',
    '33': 'Animals - Other',
    '35': 'Road Barriers',
    '37': 'Cones',
    '40': 'Rolling Containers',
    '41': 'Building',
    '42': 'Other Static Object',
}


def sequence_name(scene: int) -> str:
    """Name of the folder of a scene."""
    return f'{scene + 1:03d}'


def make_pandaset_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store points, labels and images of a keyframe.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        scene: Number of the scene.
        frame: Number of the keyframe in the scene.

    Returns:
        A record for `finish_pandaset`: pose in the world and time stamp of the vehicle (`lidar`) and each camera.
    """
    folder, name = root / sequence_name(scene), f'{frame:02d}'
    snapshot = caster(settings.seed, scene).at(keyframe_time(settings, scene, frame))
    _store_points(folder, name, snapshot, [settings.seed, scene, frame, 23])
    place, turn = snapshot.world.ego_pose(snapshot.time)
    record = {'lidar': _record(scene, snapshot.time, place, turn @ VEHICLE_AXES)}
    for number, channel in enumerate(PANDASET_CAMERAS):
        camera, shutter = camera_view(settings, scene, frame, channel)
        image = take_photo(shutter, camera, np.random.default_rng([settings.seed, scene, frame, number, 29])).image
        _, code = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_atomic(folder / 'camera' / channel / f'{name}.jpg', code.tobytes())
        pose = camera.world_pose(shutter.world.ego_pose(shutter.time))
        record[channel] = _record(scene, shutter.time, *pose)
    return record


def finish_pandaset(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write poses, time stamps and intrinsics of the sensors, names of the classes and GPS of every sequence.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        records: What `make_pandaset_frame` returned for each scene and keyframe.
    """
    cameras = make_pandaset_cameras(settings.image_size)
    for scene, frames in enumerate(records):
        folder = root / sequence_name(scene)
        latitude = LATITUDES['val' if SCENES[scene] in VAL_SCENES else 'train']
        for sensor in frames[0]:
            where = folder / ('lidar' if sensor == 'lidar' else f'camera/{sensor}')
            for file in ('poses', 'timestamps'):
                _write_json(where / f'{file}.json', [frame[sensor][file] for frame in frames])
            if sensor in cameras:
                k = cameras[sensor].intrinsic
                _write_json(where / 'intrinsics.json', {'fx': k[0, 0], 'fy': k[1, 1], 'cx': k[0, 2], 'cy': k[1, 2]})
        _write_json(folder / 'annotations' / 'semseg' / 'classes.json', CLASSES)
        gps = {'lat': latitude, 'long': -122.4, 'height': 10.0, 'xvel': 0.0, 'yvel': 0.0}
        _write_json(folder / 'meta' / 'gps.json', [gps] * len(frames))
        _write_json(folder / 'meta' / 'timestamps.json', [frame['lidar']['timestamps'] for frame in frames])


def scan(snapshot: Snapshot, lidar: str, seed: list[int]) -> tuple[np.ndarray, Sweep]:
    """Points of one of the two lidars in the world, float64 (N, 3), meters, and its sweep."""
    sensor, number = make_pandaset_lidars()[lidar], list(PANDASET_LIDARS).index(lidar)
    sweep = take_sweep(snapshot, np.random.default_rng([*seed, number]), sensor)
    place, turn = sensor.world_pose(snapshot.world.ego_pose(snapshot.time))
    return sweep.points[:, :3].astype(np.float64) @ turn.T + place, sweep


def _store_points(folder: Path, name: str, snapshot: Snapshot, seed: list[int]) -> None:
    """Store points and labels of both lidars."""
    ids = np.array([PANDASET[category] for category in CATEGORIES])
    rows, labels = [], []
    for number, lidar in enumerate(PANDASET_LIDARS):
        points, sweep = scan(snapshot, lidar, seed)
        time = np.full(len(points), snapshot.time)
        rows.append(np.c_[points, sweep.points[:, 3], time, np.full(len(points), number)])
        labels.append(ids[sweep.category])
    _write_table(folder / 'lidar' / f'{name}.pkl.gz', np.concatenate(rows), list('xyzitd'))
    _write_table(folder / 'annotations' / 'semseg' / f'{name}.pkl.gz', np.concatenate(labels).reshape(-1, 1), ['class'])


def _write_table(path: Path, values: np.ndarray, columns: list[str]) -> None:
    """Store a compressed pandas table of values (N, len(columns))."""
    from pandas import DataFrame, Index

    # plain strings as column names, as in PandaSet's files; no modification time: equal settings give equal files
    table = DataFrame(values, columns=Index(columns, dtype=object))
    write_atomic(path, gzip.compress(pickle.dumps(table, protocol=4), compresslevel=1, mtime=0))


def _record(scene: int, seconds: float, place: np.ndarray, turn: np.ndarray) -> dict:
    """Pose and time stamp (seconds since 1970) as PandaSet's JSON files hold them."""
    heading = dict(zip('wxyz', quaternion(turn)))
    position = dict(zip('xyz', place.tolist()))
    return {'poses': {'position': position, 'heading': heading}, 'timestamps': timestamp(scene, seconds) / 1e6}


def _write_json(path: Path, content: dict | list) -> None:
    """Write a JSON file."""
    write_atomic(path, json.dumps(content, indent=2).encode())
