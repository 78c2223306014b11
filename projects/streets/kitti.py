"""Keyframes in the layouts of SemanticKITTI and of KITTI's object benchmark: a 64-beam lidar and a front camera."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from streets.camera import take_photo
from streets.frame import ANNOTATED, Settings, View, camera_view, keyframe_time, visible_fractions, write_atomic
from streets.lidar import Sweep, take_sweep
from streets.mesh import rotation_z
from streets.raycast import Snapshot
from streets.rig import KITTI_SHIFTS, Camera, make_kitti_cameras, make_kitti_lidar, tilt
from streets.taxonomy import CATEGORIES, KITTI_OBJECTS, SCENES, SEMANTIC_KITTI, SEQUENCES, VAL_SCENES
from streets.world import Thing, World

# rotation from the frame of camera 0 to its rectified frame; the frames of the rig are rectified ones
RECTIFICATION = tilt(0.6, -0.5)
SEEN = 0.05  # visible fraction above which an object is annotated
DONT_CARE = ('DontCare', -1, -1, -10)


def make_semantickitti_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store scan, labels and image of a keyframe.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        scene: Number of the scene.
        frame: Number of the keyframe in the scene.

    Returns:
        A record for `finish_semantickitti`: `time` in seconds and `pose` (4, 4), camera 0 (rectified) to world.
    """
    view = camera_view(settings, scene, frame, 'CAM2')
    snapshot, folder = view[1], sequence_folder(root, scene)
    sweep = _store_sensors(folder, f'{frame:06d}', settings, view, (scene, frame))
    labels = semantic_labels(sweep, snapshot.world)
    write_atomic(folder / 'labels' / f'{frame:06d}.label', labels.tobytes())
    world_pose = _camera(settings).world_pose(snapshot.world.ego_pose(snapshot.time))
    return {'time': keyframe_time(settings, scene, frame), 'pose': _matrix(*world_pose).tolist()}


def finish_semantickitti(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write `calib.txt`, `poses.txt` and `times.txt` of every sequence, as KITTI's odometry benchmark has them.

    A line of the poses is a matrix (3, 4), row by row: rectified camera 0 to the frame of its first pose, meters. A
    line of the times is seconds from the first keyframe.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        records: What `make_semantickitti_frame` returned for each scene and keyframe.
    """
    calibration = [*_projections(settings), ('Tr', _lidar_to_camera(settings))]
    for scene, frames in enumerate(records):
        folder = sequence_folder(root, scene)
        _write_matrices(folder / 'calib.txt', calibration)
        poses = np.array([record['pose'] for record in frames])
        relative = (np.linalg.inv(poses[0]) @ poses)[:, :3].reshape(len(poses), 12)
        times = [record['time'] - frames[0]['time'] for record in frames]
        write_atomic(folder / 'poses.txt', _lines(' '.join(f'{v:.6e}' for v in row) for row in relative))
        write_atomic(folder / 'times.txt', _lines(f'{time:.6e}' for time in times))


def make_kitti_frame(root: Path, settings: Settings, scene: int, frame: int) -> dict:
    """Store scan, image, calibration and objects of a keyframe; see `make_semantickitti_frame`. No record."""
    name, folder = object_name(settings, scene, frame), root / 'training'
    view = camera_view(settings, scene, frame, 'CAM2')
    _store_sensors(folder, name, settings, view, (scene, frame))
    rectify = _matrix(np.zeros(3), RECTIFICATION)
    to_camera = np.linalg.inv(rectify) @ _lidar_to_camera(settings)
    _write_matrices(
        folder / 'calib' / f'{name}.txt',
        [
            *_projections(settings),
            ('R0_rect', RECTIFICATION),
            ('Tr_velo_to_cam', to_camera),
            ('Tr_imu_to_velo', _matrix(np.array([-0.81, 0.32, -0.8]), np.eye(3))),
        ],
    )
    write_atomic(folder / 'label_2' / f'{name}.txt', _lines(annotations(view)))
    return {}


def finish_kitti(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write `ImageSets/{train,val,trainval}.txt`; there is no test set."""
    split = {'train': [], 'val': []}
    for scene, frames in enumerate(records):
        chosen = split['val' if SCENES[scene] in VAL_SCENES else 'train']
        chosen += [object_name(settings, scene, frame) for frame in range(len(frames))]
    for name, frames in {**split, 'trainval': sorted([*split['train'], *split['val']])}.items():
        write_atomic(root / 'ImageSets' / f'{name}.txt', _lines(frames))


def sequence_folder(root: Path, scene: int) -> Path:
    """Folder of the sequence that a scene becomes."""
    return root / 'sequences' / f'{SEQUENCES[scene]:02d}'


def object_name(settings: Settings, scene: int, frame: int) -> str:
    """Six digits that name the files of a keyframe in the object benchmark."""
    return f'{scene * settings.keyframes + frame:06d}'


def semantic_labels(sweep: Sweep, world: World) -> np.ndarray:
    """Labels of a sweep, uint32 (N,): SemanticKITTI's id in the lower 16 bits, the object's number in the upper."""
    ids = np.array([SEMANTIC_KITTI[name] for name in CATEGORIES], np.uint32)
    active = [thing.number for thing in world.things if thing.moves or thing.attribute == 'cycle.with_rider']
    moves = np.isin(sweep.instance, active).astype(np.intp)
    return ids[sweep.category, moves] | sweep.instance.astype(np.uint32) << 16


def annotations(view: View) -> list[str]:
    """Lines of a label file: objects of KITTI's classes that the camera sees; far ones are `DontCare`."""
    camera, snapshot = view
    things = [thing for thing in snapshot.world.things if _class(thing)]
    visible = zip(things, visible_fractions(things, [view]))
    lines = [_annotation(thing, fraction, camera, snapshot) for thing, fraction in visible if fraction > SEEN]
    return [' '.join(map(str, line)) for line in sorted(lines, key=lambda line: line[0] == DONT_CARE[0])]


def _annotation(thing: Thing, visible: float, camera: Camera, snapshot: Snapshot) -> list:
    """Fields of an object's line, of which the camera sees the fraction `visible`."""
    position, rotation = camera.world_pose(snapshot.world.ego_pose(snapshot.time))
    place, yaw = thing.pose(snapshot.layout, snapshot.time)
    width, length, height = thing.size
    corners = thing.mesh.vertices.reshape(-1, 3) @ rotation_z(yaw).T + place
    box, truncation = _image_box((corners - position) @ rotation, camera)
    # positions refer to camera 0 and to the middle of the lower side
    center = (place + (0, 0, height / 2) - position) @ rotation - KITTI_SHIFTS[2]
    if np.hypot(*(place - position)[:2]) > ANNOTATED:
        return [*DONT_CARE, *box, *[-1] * 3, *[-1000] * 3, -10]
    forward = rotation.T @ rotation_z(yaw)[:, 0]
    turn = np.arctan2(-forward[2], forward[0])
    alpha = turn - np.arctan2(center[0], center[2])
    alpha = (alpha + np.pi) % (2 * np.pi) - np.pi
    occlusion = 0 if visible > 0.8 else 1 if visible > 0.4 else 2
    numbers = [*(height, width, length), *(center + (0, height / 2, 0)), turn]
    return [_class(thing), f'{truncation:.2f}', occlusion, f'{alpha:.2f}', *box, *[f'{v:.2f}' for v in numbers]]


def _image_box(points: np.ndarray, camera: Camera) -> tuple[list[str], float]:
    """Left, top, right, bottom of points (N, 3) in the camera's frame, cut off at the image; the fraction cut off."""
    points = points[points[:, 2] > 0.3]
    pixel = points @ camera.intrinsic.T
    pixel = pixel[:, :2] / pixel[:, 2:]
    h, w = camera.image_size
    full = np.array([pixel.min(0), pixel.max(0)])
    cut = np.clip(full, 0, [w - 1, h - 1])
    truncated = 1 - np.prod(cut[1] - cut[0]) / np.prod(full[1] - full[0])
    return [f'{v:.2f}' for v in cut.ravel()], truncated


def _class(thing: Thing) -> str | None:
    """KITTI's class of an object, None where it has none."""
    name = KITTI_OBJECTS.get(thing.category)
    return None if name == 'Cyclist' and thing.attribute != 'cycle.with_rider' else name


def _store_sensors(folder: Path, name: str, settings: Settings, view: View, number: tuple[int, int]) -> Sweep:
    """Store scan and image of the keyframe `number` (scene, frame); return the sweep."""
    camera, snapshot = view
    sweep = take_sweep(snapshot, np.random.default_rng([settings.seed, *number, 17]), make_kitti_lidar())
    points = sweep.points[:, :4] / np.float32([1, 1, 1, 255])
    write_atomic(folder / 'velodyne' / f'{name}.bin', points.tobytes())
    image = take_photo(snapshot, camera, np.random.default_rng([settings.seed, *number, 19])).image
    write_atomic(folder / 'image_2' / f'{name}.png', cv2.imencode('.png', image[..., ::-1])[1].tobytes())
    return sweep


def _camera(settings: Settings) -> Camera:
    """Camera 0, rectified."""
    return make_kitti_cameras(settings.image_size)['CAM0']


def _projections(settings: Settings) -> list[tuple[str, np.ndarray]]:
    """P0 to P3 (3, 4): rectified camera 0 to the pixels of each camera."""
    intrinsic = _camera(settings).intrinsic
    return [(f'P{i}', np.c_[intrinsic, intrinsic @ shift]) for i, shift in enumerate(KITTI_SHIFTS)]


def _lidar_to_camera(settings: Settings) -> np.ndarray:
    """Lidar to rectified camera 0, (4, 4)."""
    camera, lidar = _camera(settings), make_kitti_lidar()
    return np.linalg.inv(_matrix(camera.position, camera.rotation)) @ _matrix(lidar.position, lidar.rotation)


def _matrix(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Homogeneous matrix (4, 4) of a position (3,) and rotation (3, 3)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def _write_matrices(path: Path, matrices: list[tuple[str, np.ndarray]]) -> None:
    """Write a calibration file: a name and the first three rows of its matrix a line."""
    lines = (f'{name}: ' + ' '.join(f'{v:.12e}' for v in matrix[:3].ravel()) for name, matrix in matrices)
    write_atomic(path, _lines(lines))


def _lines(lines: Iterable[str]) -> bytes:
    """Content of a text file."""
    return ''.join(f'{line}\n' for line in lines).encode()
