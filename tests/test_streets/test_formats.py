"""What the written files of each layout say about time and motion."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.pandaset_tables import read_table as read_pickle
from pyarrow.feather import read_table
from pyquaternion import Quaternion
from scipy.spatial import cKDTree
from streets.argoverse2 import log_folder, scan
from streets.dataset import read_settings
from streets.frame import caster, keyframe_time
from streets.taxonomy import INDEX, PANDASET, SEMANTIC_KITTI

# what stands upright, so that its points do not depend on where the rings of the sweep are
UPRIGHT = ('static.manmade', 'static.vegetation')
Scan = tuple[np.ndarray, np.ndarray, float]  # upright points (N, 3) near the sensor, its pose (4, 4), seconds


def matrix(rotation: list[float], position: list[float]) -> np.ndarray:
    """Homogeneous matrix (4, 4) of a quaternion w, x, y, z and a position."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Quaternion(rotation).rotation_matrix, position
    return pose


def upright(points: np.ndarray, labels: np.ndarray, ids: dict) -> np.ndarray:
    chosen = np.isin(labels, [ids[name] for name in UPRIGHT])
    return points[chosen & (np.linalg.norm(points, axis=1) < 25)].astype(float)


def nuscenes_scans(request) -> list[list[Scan]]:
    """Keyframes of all scenes by the tables."""
    nusc, scenes = request.getfixturevalue('nusc'), []
    for scene in nusc.scene:
        token, scans = scene['first_sample_token'], []
        while token:
            sample = nusc.get('sample', token)
            record = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
            points = np.fromfile(Path(nusc.dataroot, record['filename']), np.float32).reshape(-1, 5)[:, :3]
            labels = Path(nusc.dataroot, nusc.get('lidarseg', record['token'])['filename'])
            calibration, ego = (
                matrix(row['rotation'], row['translation'])
                for row in (nusc.get(name, record[f'{name}_token']) for name in ('calibrated_sensor', 'ego_pose'))
            )
            kept = upright(points, np.fromfile(labels, np.uint8), INDEX)
            scans.append((kept, ego @ calibration, record['timestamp'] / 1e6))
            token = sample['next']
        scenes.append(scans)
    return scenes


def semantickitti_scans(request) -> list[list[Scan]]:
    """Frames of all sequences by `poses.txt` (camera 0), `times.txt` and `calib.txt`."""
    sequences = []
    for folder in sorted((request.getfixturevalue('semantickitti_root') / 'sequences').iterdir()):
        lines = dict(line.split(': ') for line in (folder / 'calib.txt').read_text().splitlines())
        last = [0, 0, 0, 1]
        to_camera = np.array([*lines['Tr'].split(), *last], float).reshape(4, 4)
        scans = []
        for frame, pose in enumerate((folder / 'poses.txt').read_text().splitlines()):
            points = np.fromfile(folder / f'velodyne/{frame:06d}.bin', np.float32).reshape(-1, 4)[:, :3]
            labels = np.fromfile(folder / f'labels/{frame:06d}.label', np.uint32) & 0xFFFF
            kept = upright(points, labels, {name: ids[0] for name, ids in SEMANTIC_KITTI.items()})
            time = float((folder / 'times.txt').read_text().splitlines()[frame])
            scans.append((kept, np.array([*pose.split(), *last], float).reshape(4, 4) @ to_camera, time))
        sequences.append(scans)
    return sequences


def pandaset_scans(request) -> list[list[Scan]]:
    """Frames of all sequences by `poses.json` and `timestamps.json` of the lidar; points are stored in the world."""
    sequences = []
    for folder in sorted(request.getfixturevalue('pandaset_root').glob('[0-9][0-9][0-9]')):
        times, scans = json.loads((folder / 'lidar/timestamps.json').read_text()), []
        for frame, entry in enumerate(json.loads((folder / 'lidar/poses.json').read_text())):
            pose = matrix([entry['heading'][key] for key in 'wxyz'], [entry['position'][key] for key in 'xyz'])
            world = read_pickle(folder / f'lidar/{frame:02d}.pkl.gz')[list('xyz')].to_numpy()
            labels = read_pickle(folder / f'annotations/semseg/{frame:02d}.pkl.gz')['class'].to_numpy()
            scans.append((upright((world - pose[:3, 3]) @ pose[:3, :3], labels, PANDASET), pose, times[frame]))
        sequences.append(scans)
    return sequences


def argoverse2_scans(request) -> list[list[Scan]]:
    """Sweeps of all logs by `city_SE3_egovehicle.feather`; only the renderer knows their classes."""
    root, scenes = request.getfixturevalue('argoverse2_root'), []
    for scene in (0, 1):
        folder, scans = log_folder(root, scene), []
        poses = {row['timestamp_ns']: row for row in read_table(folder / 'city_SE3_egovehicle.feather').to_pylist()}
        for frame, path in enumerate(sorted((folder / 'sensors/lidar').iterdir())):
            table, pose = read_table(path).to_pydict(), poses[int(path.stem)]
            points = np.stack([table[axis] for axis in 'xyz'], 1)
            _, labels = scan(
                caster(0, scene).at(keyframe_time(read_settings(root), scene, frame)), [0, scene, frame, 31]
            )
            place = matrix([pose[f'q{axis}'] for axis in 'wxyz'], [pose[f't{axis}_m'] for axis in 'xyz'])
            scans.append((upright(points, labels, INDEX), place, int(path.stem) / 1e9))
        scenes.append(scans)
    return scenes


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Fraction of the points of two clouds that lie within 0.3 m of a point of the other."""
    distances = [cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]]
    return (np.concatenate(distances) < 0.3).mean()


@pytest.mark.parametrize('read', [nuscenes_scans, semantickitti_scans, pandaset_scans, argoverse2_scans])
def test_poses_put_static_points_on_the_surfaces_of_the_next_keyframe(read, request):
    """... while those of the raw clouds lie elsewhere; times and poses give the speeds of the ego vehicle."""
    for number, scans in enumerate(read(request)):
        for (points, pose, time), (next_points, next_pose, next_time) in pairwise(scans):
            motion = np.linalg.inv(next_pose) @ pose
            moved = points @ motion[:3, :3].T + motion[:3, 3]
            assert len(points) > 500
            assert overlap(moved, next_points) > max(0.6, overlap(points, next_points) + 0.1), number
            assert next_time - time == pytest.approx(0.5, abs=0.01)
            # the slowest vehicle drives 1.5 m/s, the others 4.5 to 9.5
            assert 1.4 < np.linalg.norm(motion[:3, 3]) / (next_time - time) < 9.6, number
