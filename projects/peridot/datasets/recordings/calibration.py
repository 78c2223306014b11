"""`calibration.json` of a recording: columns of its points, intrinsics and distortion of its cameras, transforms."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peridot.datasets.recordings.transforms import numbers, read_transform
from peridot.errors import DataError

CALIBRATION = 'calibration.json'
# meters
UNITS = {'m': 1.0, 'cm': 0.01, 'mm': 0.001}
# OpenCV's numbers of coefficients by model; names are those of ROS' CameraInfo, and OpenCV's own
_PINHOLE, _FISHEYE = (0, 4, 5, 8, 12, 14), (0, 4)
MODELS = {
    'plumb_bob': _PINHOLE,
    'rational_polynomial': _PINHOLE,
    'equidistant': _FISHEYE,
    'fisheye': _FISHEYE,
}
_LIDAR_KEYS = ('columns', 'dtype', 'intensity', 'intensity_range', 'unit', 'lidar2ego', 'frame_id')
_CAMERA_KEYS = ('intrinsics', 'distortion_model', 'distortion', 'lidar2cam')


@dataclass(frozen=True)
class PointFormat:
    """What the files of a lidar hold.

    Attributes:
        columns: Names of the columns of .bin and .npy files, in order; .pcd and .ply files name their own.
        row: Type of a row of a .bin file.
        intensity: Name of the column with the intensity; None if there is none.
        intensity_range: Smallest and largest intensity.
        unit: Meters per unit of x, y and z.
    """

    columns: tuple[str, ...]
    row: np.dtype
    intensity: str | None
    intensity_range: tuple[float, float]
    unit: float


@dataclass(frozen=True)
class CameraModel:
    """A camera, OpenCV's models.

    Attributes:
        intrinsics: Float64 (3, 3), pixels; integer positions are pixel centers.
        fisheye: Whether the distortion is that of `cv2.fisheye`.
        distortion: Float64 (D,), its coefficients; empty for a pinhole camera without distortion.
        lidar2cam: Float64 (4, 4), meters; the camera looks along z, x to the right, y down.
    """

    intrinsics: np.ndarray
    fisheye: bool
    distortion: np.ndarray
    lidar2cam: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Content of a `calibration.json`.

    Attributes:
        path: The file.
        points: What the files of the lidar hold.
        lidar2ego: Float64 (4, 4), meters.
        cameras: By name; None for a camera that is not to be used.
    """

    path: Path
    points: PointFormat
    lidar2ego: np.ndarray
    cameras: Mapping[str, CameraModel | None]


def read_calibration(path: Path) -> Calibration:
    """Read and check a `calibration.json` (docs/own_recording.md describes it).

    Raises:
        DataError: The file is missing or not JSON, or a value is missing or wrong; the message names the key.
    """
    content = read_json(path, 'docs/own_recording.md describes the file')
    _check_keys(content, ('lidar', 'cameras'), ('lidar', 'cameras'), str(path))
    lidar, cameras = content['lidar'], content['cameras']
    _check_keys(lidar, _LIDAR_KEYS, (), f'{path}: lidar')
    if not isinstance(cameras, dict):
        raise DataError(f'{path}: cameras must be an object with an entry for each folder of images/')
    return Calibration(
        path,
        _point_format(lidar, f'{path}: lidar'),
        read_transform(lidar['lidar2ego'], f'{path}: lidar.lidar2ego') if 'lidar2ego' in lidar else np.eye(4),
        {name: _camera(camera, f'{path}: cameras.{name}') for name, camera in cameras.items()},
    )


def read_json(path: Path, hint: str):
    """Content of a JSON file, which may begin with the mark of Windows; a DataError ends with the hint."""
    try:
        return json.loads(path.read_text('utf-8-sig'))
    except FileNotFoundError:
        raise DataError(f'{path} is missing: {hint}') from None
    except (OSError, RecursionError, ValueError) as error:
        raise DataError(f'{path} is not a JSON file ({error}): {hint}') from None


def _check_keys(content, known: Collection[str], needed: Collection[str], where: str) -> None:
    if not isinstance(content, dict):
        raise DataError(f'{where} must be an object with the keys {", ".join(known)}')
    missing = [key for key in needed if key not in content]
    if missing:
        raise DataError(f'{where} has no {missing[0]}: add it (docs/own_recording.md describes the file)')
    unknown = [key for key in content if key not in known]
    if unknown:
        raise DataError(f'{where} has an unknown key {unknown[0]!r}: the keys are {", ".join(known)}')


def _point_format(lidar: dict, where: str) -> PointFormat:
    columns = lidar.get('columns', ['x', 'y', 'z', 'intensity'])
    if not _is_names(columns) or not {'x', 'y', 'z'} <= set(columns):
        raise DataError(f'{where}.columns must be the names of all columns, each once, with x, y and z among them')
    intensity = lidar.get('intensity', 'intensity' if 'intensity' in columns else None)
    if intensity is not None and intensity not in columns:
        raise DataError(
            f'{where}.intensity={intensity!r} is not among the columns {", ".join(columns)}: name one, or null'
        )
    unit = _chosen(lidar.get('unit', 'm'), UNITS, f'{where}.unit')
    limits = (0.0, 1.0) if intensity is None else _intensity_range(lidar, where)
    return PointFormat(tuple(columns), _row_type(lidar, columns, where), intensity, limits, unit)


def _is_names(value) -> bool:
    is_list = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return is_list and len(set(value)) == len(value)


def _chosen(value, choices: Mapping, where: str):
    """Meaning of a name; a DataError lists the names that there are."""
    if not isinstance(value, str) or value not in choices:
        raise DataError(f'{where}={value!r}: choose {", ".join(choices)}')
    return choices[value]


def _row_type(lidar: dict, columns: list[str], where: str) -> np.dtype:
    types = lidar.get('dtype', 'float32')
    types = [types] * len(columns) if isinstance(types, str) else types
    try:
        row = np.dtype([(name, np.dtype(kind)) for name, kind in zip(columns, types, strict=True)])
        if any(row[name].kind not in 'fiu' for name in columns):
            raise TypeError
    except (TypeError, ValueError):
        raise DataError(
            f'{where}.dtype must be a type of numbers, e.g. "float32", or a list with one for each of the '
            f'{len(columns)} columns'
        ) from None
    return row


def _intensity_range(lidar: dict, where: str) -> tuple[float, float]:
    wanted = 'the smallest and the largest intensity that the lidar gives, e.g. [0, 255]'
    low, high = numbers(lidar.get('intensity_range'), (2,), f'{where}.intensity_range', wanted)
    if low >= high:
        raise DataError(f'{where}.intensity_range must be {wanted}')
    return float(low), float(high)


def _camera(camera: dict | None, where: str) -> CameraModel | None:
    if camera is None:
        return None
    _check_keys(camera, _CAMERA_KEYS, ('intrinsics', 'lidar2cam'), where)
    model = camera.get('distortion_model', 'plumb_bob')
    counts = _chosen(model, MODELS, f'{where}.distortion_model')
    distortion = camera.get('distortion', [])
    count = len(distortion) if isinstance(distortion, list) else -1
    if count not in counts:
        known = ', '.join(map(str, counts))
        raise DataError(f"{where}.distortion must be a list of OpenCV's coefficients ({model}: {known} numbers)")
    distortion = numbers(distortion, (count,), f'{where}.distortion', "a list of OpenCV's coefficients")
    fisheye = counts is _FISHEYE
    # without coefficients a fisheye still maps angles, a pinhole camera nothing
    distortion = np.resize(distortion, 4) if fisheye else distortion[: count * distortion.any()]
    intrinsics = _intrinsics(camera['intrinsics'], f'{where}.intrinsics')
    return CameraModel(intrinsics, fisheye, distortion, read_transform(camera['lidar2cam'], f'{where}.lidar2cam'))


def _intrinsics(value, where: str) -> np.ndarray:
    wanted = 'a 3x3 matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels'
    matrix = numbers(value, (3, 3), where, wanted)
    if (matrix[2] != (0, 0, 1)).any() or matrix[1, 0]:
        raise DataError(f'{where} must be {wanted}')
    if min(matrix[0, 0], matrix[1, 1]) < 10:
        raise DataError(
            f'{where} has a focal length of {min(matrix[0, 0], matrix[1, 1]):g} pixels: write {wanted}, neither meters '
            'nor multiples of the image width'
        )
    return matrix
