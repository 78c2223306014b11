"""Keyframes in the layout of Argoverse 2's Sensor Dataset: sweeps of two lidars in one table, seven cameras, poses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from peridot.files import atomic_path
from peridot.optional import import_package

from streets.camera import take_photo
from streets.frame import (
    JPEG_QUALITY,
    Settings,
    camera_view,
    caster,
    keyframe_time,
    log_name,
    quaternion,
    timestamp,
    write_atomic,
)
from streets.lidar import take_sweep
from streets.raycast import Snapshot
from streets.rig import (
    ARGOVERSE2_AXLE,
    ARGOVERSE2_CAMERAS,
    BEAMS,
    make_argoverse2_cameras,
    make_argoverse2_lidars,
)
from streets.taxonomy import SCENES, VAL_SCENES

# of the lenses; the images have none
DISTORTION = (-0.25, -0.13, 0.2)


def log_folder(root: Path, scene: int) -> Path:
    """Folder of a scene."""
    return root / ('val' if SCENES[scene] in VAL_SCENES else 'train') / log_name(scene)


def make_argoverse2_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store the sweep and the images of a keyframe.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        scene: Number of the scene.
        frame: Number of the keyframe in the scene.

    Returns:
        A record for `finish_argoverse2`: rows of the table of poses.
    """
    sensors = log_folder(root, scene) / 'sensors'
    snapshot = caster(settings.seed, scene).at(keyframe_time(settings, scene, frame))
    points, _ = scan(snapshot, [settings.seed, scene, frame, 31])
    poses = [_pose(scene, snapshot)]
    _write_table(sensors / 'lidar' / f'{poses[0]["timestamp_ns"]}.feather', points)
    for number, channel in enumerate(ARGOVERSE2_CAMERAS):
        camera, shutter = camera_view(settings, scene, frame, channel)
        image = take_photo(shutter, camera, np.random.default_rng([settings.seed, scene, frame, number, 37])).image
        _, code = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        poses.append(_pose(scene, shutter))
        write_atomic(sensors / 'cameras' / channel / f'{poses[-1]["timestamp_ns"]}.jpg', code.tobytes())
    return {'poses': poses}


def finish_argoverse2(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write poses and calibration of every log.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        records: What `make_argoverse2_frame` returned for each scene and keyframe.
    """
    cameras, lidars = make_argoverse2_cameras(settings.image_size), make_argoverse2_lidars()
    intrinsics = []
    for name, camera in cameras.items():
        k, lens, (h, w) = camera.intrinsic, dict(zip(('k1', 'k2', 'k3'), DISTORTION)), camera.image_size
        pinhole = {'fx_px': k[0, 0], 'fy_px': k[1, 1], 'cx_px': k[0, 2], 'cy_px': k[1, 2]}
        intrinsics.append({'sensor_name': name, **pinhole, **lens, 'height_px': h, 'width_px': w})
    mounts = [
        {'sensor_name': name, **_row(sensor.rotation, sensor.position - ARGOVERSE2_AXLE)}
        for name, sensor in {**cameras, **lidars}.items()
    ]
    for scene, frames in enumerate(records):
        folder = log_folder(root, scene)
        poses = sorted((row for frame in frames for row in frame['poses']), key=lambda row: row['timestamp_ns'])
        _write_table(folder / 'city_SE3_egovehicle.feather', _columns(poses))
        _write_table(folder / 'calibration' / 'intrinsics.feather', _columns(intrinsics))
        _write_table(folder / 'calibration' / 'egovehicle_SE3_sensor.feather', _columns(mounts))


def scan(snapshot: Snapshot, seed: list[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns (N,) of a sweep's table, and the lidarseg index uint8 (N,) of its points.

    Points lie in the vehicle's frame, in meters and half precision as in Argoverse 2.
    """
    rows, categories = [], []
    for number, lidar in enumerate(make_argoverse2_lidars().values()):
        sweep = take_sweep(snapshot, np.random.default_rng([*seed, number]), lidar)
        xyz = sweep.points[:, :3] @ lidar.rotation.T + lidar.position - ARGOVERSE2_AXLE
        rows.append(np.c_[xyz, sweep.points[:, 3], sweep.points[:, 4] + number * BEAMS])
        categories.append(sweep.category)
    x, y, z, intensity, laser = np.concatenate(rows).T
    columns = {name: values.astype(np.float16) for name, values in zip('xyz', (x, y, z))}
    columns |= {'intensity': intensity.astype(np.uint8), 'laser_number': laser.astype(np.uint8)}
    # all at once: the streets stand still during a sweep
    return {**columns, 'offset_ns': np.zeros(len(x), np.int32)}, np.concatenate(categories)


def _pose(scene: int, snapshot: Snapshot) -> dict:
    """Row of the table of poses at the time of a snapshot."""
    place, turn = snapshot.world.ego_pose(snapshot.time)
    return {'timestamp_ns': timestamp(scene, snapshot.time) * 1000, **_row(turn, place + turn @ ARGOVERSE2_AXLE)}


def _row(rotation: np.ndarray, position: np.ndarray) -> dict[str, float]:
    """A pose by the names of Argoverse 2's columns."""
    turn = dict(zip(('qw', 'qx', 'qy', 'qz'), quaternion(rotation)))
    return turn | dict(zip(('tx_m', 'ty_m', 'tz_m'), position.tolist()))


def _columns(rows: list[dict]) -> dict[str, list]:
    """Columns of a table of rows."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _write_table(path: Path, columns: dict) -> None:
    """Write a feather file."""
    table = import_package('pyarrow', 'Argoverse 2').table(columns)
    with atomic_path(path) as temporary:
        import_package('pyarrow.feather', 'Argoverse 2').write_feather(table, str(temporary))
