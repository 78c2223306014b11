"""Argoverse 2's Sensor Dataset: clouds in the vehicle's frame, mmdet3d's info files."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from peridot.catalog.argoverse2 import ARGOVERSE2
from peridot.datasets.create_infos import check_writable, write_splits
from peridot.datasets.missing import Findings, check_missing, finite_rows, first, report
from peridot.datasets.recordings.matching import nearest_rows
from peridot.errors import ConfigError, DataError
from peridot.files import atomic_path
from peridot.optional import import_package

# poses are interpolated between two that are not farther apart, seconds
MAX_GAP = 0.2
_SPLITS = ('train', 'val', 'test')
# not k1, k2 and k3: they distort the raw images, and the published ones are free of distortion
_INTRINSICS = ('fx_px', 'fy_px', 'cx_px', 'cy_px')
_POSE = ('qx', 'qy', 'qz', 'qw', 'tx_m', 'ty_m', 'tz_m')
_RESTORE = 'unpack the log again'


def create_argoverse2_infos(
    root: str | os.PathLike,
    every: int = 5,
    tolerance: float = 0.03,
    missing: str = 'skip',
    verbose: bool = False,
) -> list[Path]:
    """Write clouds and `argoverse2_infos_{train,val,test}.pkl` of the Sensor Dataset.

    Clouds are `lidar/{split}/{log}/{nanoseconds}.bin`, float32 x, y, z, intensity (0..255) in the frame of the
    dataset's files: the vehicle's at the time of the sweep, origin at the rear axle. Those that exist are kept: an
    interrupted run goes on. Logs that lack something are left out; a split without samples gets no info file, and that
    of an earlier run is removed.

    Args:
        root: Folder with `train/LOG`, `val/LOG` and `test/LOG`, or some of them.
        every: Take every n-th sweep of 10 a second.
        tolerance: Longest time between a sweep and its images, seconds.
        missing: 'skip' leaves out what is absent, logs that lack what they cannot do without, and points that are not
            finite, and counts and names them; 'error' stops at the first.
        verbose: Show progress, what was found and what is left out.

    Returns:
        The info files.

    Raises:
        ConfigError: An option is out of range, or pyarrow is not installed.
        DataError: No log can be used.
    """
    if every < 1 or not tolerance >= 0:
        raise ConfigError(f'every={every}, tolerance={tolerance}: set every to 1 or more and tolerance to 0 or more')
    check_missing(missing)
    root = Path(root).resolve()
    check_writable(root)
    splits, logs, failures = _logs(root), {}, {}
    folders = [folder for own in splits.values() for folder in own]
    for folder in tqdm(folders, desc='Argoverse 2, images and poses', unit='log', disable=not verbose):
        with _left_out(folder, failures, missing):
            logs[folder] = read_log(root, folder, every, tolerance)
    _report_absent(logs, tolerance, missing)
    lost = Findings('points are not finite', f'{_RESTORE}, if they are not so in the archive', missing)
    for folder, log in tqdm(logs.items(), desc='Argoverse 2, clouds', unit='log', disable=not verbose):
        with _left_out(folder, failures, missing):
            for sample in log.samples:
                _store_cloud(folder, root / sample['lidar_points']['lidar_path'], lost)
    lost.report()
    usable = {split: [logs[folder] for folder in own if folder not in failures] for split, own in splits.items()}
    if verbose:
        for split, own in splits.items():
            _print_summary(split, usable[split], [failures[folder] for folder in own if folder in failures])
    if not any(usable.values()):
        raise DataError(f'{next(iter(failures.values()))} (none of {len(failures)} logs can be used)')
    return write_splits(
        root, ARGOVERSE2, {split: [sample for log in own for sample in log.samples] for split, own in usable.items()}
    )


@dataclass(frozen=True)
class Log:
    """What can be used of a log.

    Attributes:
        samples: Infos of its sweeps.
        skipped: Nanoseconds of the sweeps that are left out.
    """

    samples: list[dict]
    skipped: list[int]

    @property
    def absent_cameras(self) -> list[str]:
        """Names of the cameras without an image, once for each sweep."""
        return [name for sample in self.samples for name in ARGOVERSE2.cameras if name not in sample['images']]


def read_log(root: Path, log: Path, every: int, tolerance: float) -> Log:
    """Infos of a log's sweeps, whose clouds are yet to be written.

    A sweep has the nearest image of every camera. `lidar2cam` goes from the vehicle at the time of the sweep over the
    city to the vehicle at the time of the image. A camera without an image near the sweep is absent; sweeps without
    any image or without a pose are left out.

    Args:
        root: Folder of the dataset.
        log: Folder of the log.
        every: Take every n-th sweep.
        tolerance: Longest time between a sweep and its images, seconds.

    Raises:
        DataError: Something is missing or damaged, or no sweep can be used.
    """
    sweeps = _times(log / 'sensors' / 'lidar', '.feather')[::every]
    if not len(sweeps):
        raise DataError(f'{log}/sensors/lidar has no sweep: unpack it')
    poses = Poses(log / 'city_SE3_egovehicle.feather')
    ego, known = poses.at(sweeps)
    if not known.any():
        raise DataError(f'{poses.path} has no poses around the times of the sweeps: {_RESTORE}')
    images = _images(root, log, sweeps, poses, tolerance)
    rows = [row for row in np.flatnonzero(known) if images[row]]
    if not rows:
        raise DataError(f'{log} has no image within {tolerance} s of a sweep: {_RESTORE}, or set --tolerance')
    clouds = f'lidar/{log.relative_to(root).as_posix()}'
    samples = [
        {
            'sample_idx': f'{log.name}/{sweeps[row]}',
            'token': f'{log.name}/{sweeps[row]}',
            'timestamp': int(sweeps[row]) / 1e9,
            'ego2global': ego[row].tolist(),
            'lidar_points': {'lidar_path': f'{clouds}/{sweeps[row]}.bin', 'num_pts_feats': len(ARGOVERSE2.columns)},
            'images': images[row],
        }
        for row in rows
    ]
    return Log(samples, np.delete(sweeps, rows).tolist())


class Poses:
    """Poses of the vehicle in the city.

    Args:
        path: `city_SE3_egovehicle.feather`.

    Raises:
        DataError: The file is missing, damaged or no table of poses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        table = read_feather(path, ('timestamp_ns', *_POSE))
        if not np.issubdtype(table['timestamp_ns'].dtype, np.integer):
            raise DataError(f'{path} has times (timestamp_ns) that are not whole numbers: {_RESTORE}')
        self._times, rows = np.unique(table['timestamp_ns'].astype(np.int64), return_index=True)
        self._turns, self._places = _rigid(path, _numbers(path, table, _POSE)[rows])

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poses at some times, interpolated between the one before and the one after.

        Args:
            times: Int64 (N,), nanoseconds.

        Returns:
            Float64 (N, 4, 4), vehicle to city, and bool (N,), False where no poses are near.
        """
        before = np.searchsorted(self._times, times, side='right') - 1
        after = np.searchsorted(self._times, times)
        known = (before >= 0) & (after < len(self._times))
        before, after = before.clip(min=0), after.clip(max=len(self._times) - 1)
        gap = self._times[after] - self._times[before]
        known &= gap <= MAX_GAP * 1e9
        step = ((times - self._times[before]) / np.maximum(gap, 1))[:, None]
        turn = (self._turns[before].inv() * self._turns[after]).as_rotvec()
        place = self._places[after] - self._places[before]
        turns = self._turns[before] * Rotation.from_rotvec(step * turn)
        return _matrices(turns, self._places[before] + step * place), known


def read_feather(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns (N,) of a table by name, N > 0.

    Raises:
        DataError: The file is missing, damaged or empty, or lacks a column.
        ConfigError: pyarrow is not installed.
    """
    feather = import_package('pyarrow.feather', 'Argoverse 2')
    try:
        table = feather.read_table(path)
        table.validate(full=True)
    except FileNotFoundError:
        raise DataError(f'{path} is missing: {_RESTORE}') from None
    except Exception as error:  # a damaged file may fail anywhere in Arrow
        raise DataError(f'{path} is damaged ({str(error).splitlines()[0]}): {_RESTORE}') from None
    if missing := [name for name in columns if name not in table.column_names]:
        raise DataError(f'{path} has no column {missing[0]}: {_RESTORE}')
    if not table.num_rows:
        raise DataError(f'{path} is empty: {_RESTORE}')
    return {name: table[name].to_numpy() for name in columns}


def _logs(root: Path) -> dict[str, list[Path]]:
    """Folders of the logs of the splits that exist."""
    logs = {split: sorted(path for path in (root / split).glob('*') if path.is_dir()) for split in _SPLITS}
    if not any(logs.values()):
        raise DataError(
            f'{root} has no log (train/LOG, val/LOG, test/LOG): unpack the Sensor Dataset of Argoverse 2 there, or '
            'name the folder that has them with --root'
        )
    return {split: folders for split, folders in logs.items() if folders}


def _times(folder: Path, suffix: str) -> np.ndarray:
    """Nanoseconds by which the files of a sensor are named, int64 (N,), sorted."""
    names = (path.stem for path in folder.glob(f'*{suffix}'))
    return np.array(sorted(int(name) for name in names if name.isdigit()), np.int64)


def _images(root: Path, log: Path, sweeps: np.ndarray, poses: Poses, tolerance: float) -> list[dict[str, dict]]:
    """`images` of the info of every sweep."""
    folder = log / 'sensors' / 'cameras'
    times = {name: _times(folder / name, '.jpg') for name in ARGOVERSE2.cameras}
    times = {name: stamps for name, stamps in times.items() if len(stamps)}
    if not times:
        raise DataError(f'{folder} has no image of a ring camera (ring_front_center/*.jpg, ...): unpack it')
    cam2img, ego2cam = _calibration(log / 'calibration', list(times))
    images = [{} for _ in sweeps]
    for camera, (name, stamps) in enumerate(times.items()):
        nearest = stamps[nearest_rows(stamps, sweeps)]
        ego, known = poses.at(nearest)
        lidar2cam = ego2cam[camera] @ np.linalg.inv(ego) @ poses.at(sweeps)[0]
        for row in np.flatnonzero(known & (abs(nearest - sweeps) <= tolerance * 1e9)):
            images[row][name] = {
                'img_path': f'{folder.relative_to(root).as_posix()}/{name}/{nearest[row]}.jpg',
                'cam2img': cam2img[camera].tolist(),
                'lidar2cam': lidar2cam[row].tolist(),
            }
    return images


def _calibration(folder: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """`cam2img` (V, 3, 3) and the transforms (V, 4, 4) from the vehicle to cameras."""
    fx, fy, cx, cy = _rows_of(folder / 'intrinsics.feather', names, _INTRINSICS).T
    cam2img = np.tile(np.eye(3), (len(names), 1, 1))
    cam2img[:, 0, 0], cam2img[:, 1, 1], cam2img[:, 0, 2], cam2img[:, 1, 2] = fx, fy, cx, cy
    path = folder / 'egovehicle_SE3_sensor.feather'
    return cam2img, np.linalg.inv(_matrices(*_rigid(path, _rows_of(path, names, _POSE))))


def _rows_of(path: Path, sensors: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Float64 (len(sensors), len(columns)) of a table of calibrations."""
    table = read_feather(path, ('sensor_name', *columns))
    rows = {name: row for row, name in enumerate(table.pop('sensor_name'))}
    if unknown := [name for name in sensors if name not in rows]:
        raise DataError(f'{path} has no {unknown[0]}, of which there are images: {_RESTORE}')
    chosen = [rows[name] for name in sensors]
    return _numbers(path, {name: values[chosen] for name, values in table.items()}, columns)


def _numbers(path: Path, table: dict[str, np.ndarray], columns: Sequence[str]) -> np.ndarray:
    """Float64 (N, len(columns)), finite."""
    values = _columns(path, table, columns)
    if not np.isfinite(values).all():
        raise DataError(f'{path} holds values that are not finite: {_RESTORE}')
    return values


def _columns(path: Path, table: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Float64 (N, len(names))."""
    try:
        return np.stack([table[name].astype(np.float64) for name in names], 1)
    except (TypeError, ValueError):
        raise DataError(f'{path} holds values that are no numbers: {_RESTORE}') from None


def _rigid(path: Path, rows: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Rotations and positions (N, 3) of rows with the columns `_POSE`."""
    try:
        return Rotation.from_quat(rows[:, :4]), rows[:, 4:]
    except ValueError:
        raise DataError(f'{path} has a rotation qw, qx, qy, qz of length 0: {_RESTORE}') from None


def _matrices(turns: Rotation, places: np.ndarray) -> np.ndarray:
    """Float64 (N, 4, 4) of rotations and positions."""
    matrices = np.tile(np.eye(4), (len(places), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = turns.as_matrix(), places
    return matrices


def _store_cloud(log: Path, target: Path, lost: Findings) -> None:
    """Write the cloud of a sweep unless it exists."""
    if not target.is_file():
        source = log / 'sensors' / 'lidar' / f'{target.stem}.feather'
        points = _columns(source, read_feather(source, ARGOVERSE2.columns), ARGOVERSE2.columns)
        finite = finite_rows(points, source, lost)
        with atomic_path(target) as temporary:
            points[finite].astype(np.float32).tofile(temporary)


@contextlib.contextmanager
def _left_out(log: Path, failures: dict[Path, str], missing: str) -> Iterator[None]:
    """Note what a log lacks in place of raising it, unless `missing` is 'error'."""
    try:
        yield
    except DataError as error:
        if missing == 'error':
            raise
        failures[log] = str(error)


def _report_absent(logs: Mapping[Path, Log], tolerance: float, missing: str) -> None:
    """A line each about sweeps and images that are absent."""
    skipped = [f'{folder.name}/{time}' for folder, log in logs.items() for time in log.skipped]
    cameras = Counter(f'{folder.name}/{camera}' for folder, log in logs.items() for camera in log.absent_cameras)
    count = sum(len(log.samples) for log in logs.values())
    images = [f'{camera}: {number}' for camera, number in cameras.items()]
    for line, names in (
        (f'{len(skipped)} of {count + len(skipped)} sweeps have no image within {tolerance} s, or no pose', skipped),
        (
            f'{cameras.total()} of {count * len(ARGOVERSE2.cameras)} images are absent, or not within {tolerance} s of '
            'their sweep',
            images,
        ),
    ):
        if names:
            report(f'{line} ({first(names)})', 'unpack the logs again, or set --tolerance', missing)


def _print_summary(split: str, logs: Sequence[Log], failures: Sequence[str]) -> None:
    for line in failures:
        print(f'left out: {line}')
    samples = [sample for log in logs for sample in log.samples]
    print(
        f'{split}: {len(samples)} sweeps with {sum(len(sample["images"]) for sample in samples)} images of {len(logs)} '
        f'logs; left out: {sum(len(log.skipped) for log in logs)} sweeps without image or pose, {len(failures)} logs'
    )
