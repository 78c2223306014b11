"""A made-up recording of a few scans and two cameras, which a test may damage."""

import csv
import json
from pathlib import Path

import numpy as np
from peridot.datasets.create_infos_folder import create_folder_infos
from peridot.datasets.paired_dataset import read_info_file
from PIL import Image
from scipy.spatial.transform import Rotation

HEIGHT, WIDTH, FOCAL = 90, 160, 100.0
SCANS, POINTS, PERIOD = 6, 900, 0.1
CAMERAS = ('FRONT', 'BACK')
# forward x left y up z -> right x down y forward z
AXES = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


def lidar2cam(yaw: float) -> np.ndarray:
    """A camera that looks `yaw` radians to the left."""
    matrix = np.eye(4)
    matrix[:3, :3] = AXES @ Rotation.from_euler('z', -yaw).as_matrix()
    matrix[:3, 3] = (0.1, -0.3, -0.2)
    return matrix


def cloud(rng: np.random.Generator, count: int = POINTS) -> np.ndarray:
    """Points (N, 4) around a vehicle, intensity from 0 to 255."""
    distance, azimuth = rng.uniform(4, 40, count), rng.uniform(-np.pi, np.pi, count)
    x, y = distance * np.cos(azimuth), distance * np.sin(azimuth)
    return np.stack([x, y, rng.uniform(-2, 1, count), rng.integers(0, 256, count)], 1).astype(np.float32)


class TinyRecording:
    """Files of the recording in `root`; the scans are every tenth of a second, images of the same name 10 ms later."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)
        self.clouds = [cloud(self.rng) for _ in range(SCANS)]
        self.calibration = {
            'lidar': {'columns': ['x', 'y', 'z', 'intensity'], 'intensity_range': [0, 255]},
            'cameras': {
                name: {
                    'intrinsics': [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]],
                    'lidar2cam': lidar2cam(yaw).tolist(),
                }
                for name, yaw in zip(CAMERAS, (0.0, np.pi))
            },
        }
        for folder in ('points', *(f'images/{name}' for name in CAMERAS)):
            (root / folder).mkdir(parents=True)
        for number, points in enumerate(self.clouds):
            points.tofile(root / f'points/{number:03d}.bin')
            for name in CAMERAS:
                self.save_image(f'images/{name}/{number:03d}.png')
        self.write_calibration()

    def save_image(self, path: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        pixels = self.rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(self.root / path)

    def write_calibration(self, **lidar) -> None:
        self.calibration['lidar'].update(lidar)
        (self.root / 'calibration.json').write_text(json.dumps(self.calibration))

    def write_table(self, name: str, columns, rows) -> None:
        with (self.root / name).open('w', newline='') as file:
            csv.writer(file).writerows([columns, *rows])

    def write_times(self, lag: float = 0.01, start: float = 1000.0) -> None:
        rows = []
        for number in range(SCANS):
            time = start + PERIOD * number
            rows.append((f'points/{number:03d}.bin', repr(time)))
            rows += [(f'images/{name}/{number:03d}.png', repr(time + lag)) for name in CAMERAS]
        self.write_table('timestamps.csv', ('file', 'time'), rows)

    def poses(self, start: float = 1000.0) -> np.ndarray:
        """Times and poses (T, 8): forward at 10 m/s, turning."""
        times = start - 0.05 + 0.05 * np.arange(2 * SCANS + 4)
        turns = Rotation.from_euler('z', 0.3 * (times - start)[:, None]).as_quat()
        path = np.stack([10 * (times - start), np.sin(times - start), 0 * times], 1)
        return np.column_stack([times, path, turns])

    def write_poses(self, rows=None, columns=('time', *POSE)) -> None:
        self.write_table('poses.csv', columns, self.poses() if rows is None else rows)

    def write_labels(self, classes: dict | None = None, dtype=np.uint32) -> list[np.ndarray]:
        labels = [self.rng.integers(0, 3, POINTS).astype(dtype) for _ in range(SCANS)]
        (self.root / 'labels').mkdir(exist_ok=True)
        for number, ids in enumerate(labels):
            ids.tofile(self.root / f'labels/{number:03d}.label')
        (self.root / 'classes.json').write_text(json.dumps(classes or {'0': None, '1': 'car', '2': 'road'}))
        return labels

    def infos(self, **options) -> dict[str, dict]:
        """Contents of the info files by split."""
        paths = create_folder_infos(self.root, **options)
        return {path.stem.removeprefix('folder_infos_'): read_info_file(str(path), str(path.parent)) for path in paths}

    def samples(self, **options) -> list[dict]:
        """All samples."""
        return [sample for content in self.infos(**options).values() for sample in content['data_list']]
