"""Points, images and calibrations from ROS messages."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from peridot.datasets.recordings.calibration import MODELS
from peridot.datasets.recordings.transforms import rigid
from peridot.datasets.rosbag.bag import COMPRESSED
from peridot.errors import DataError

# names of the intensity in drivers' clouds, the first that is there is taken
INTENSITIES = ('intensity', 'reflectivity', 'reflectance', 'remission', 'i')
# by the number in a PointField's message
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
_MAGIC = {b'\xff\xd8\xff': '.jpg', b'\x89PNG': '.png'}
# channels and conversion to BGR by encoding
_ENCODINGS = {
    'bgr8': (3, None),
    'rgb8': (3, cv2.COLOR_RGB2BGR),
    'bgra8': (4, cv2.COLOR_BGRA2BGR),
    'rgba8': (4, cv2.COLOR_RGBA2BGR),
    'mono8': (1, cv2.COLOR_GRAY2BGR),
    '8UC1': (1, cv2.COLOR_GRAY2BGR),
    '8UC3': (3, None),
    # OpenCV names a pattern by the second row and column
    'bayer_rggb8': (1, cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': (1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': (1, cv2.COLOR_BayerGB2BGR),
}


def intensity_of(message: Any) -> str | None:
    """Name of the field of a PointCloud2 with the intensity, None without."""
    names = {field.name for field in message.fields if field.datatype in _TYPES}
    return next((name for name in INTENSITIES if name in names), None)


def points_of(message: Any, topic: str) -> tuple[np.ndarray, int]:
    """Points of a PointCloud2: float32 (N, 4), x, y, z and intensity (0 without) as the lidar gives it.

    Returns:
        The points, and how many were left out because they are not finite or at the origin, as drivers mark beams
        without return.

    Raises:
        DataError: x, y or z is missing, or the data do not have the size that the message says.
    """
    order = '>' if message.is_bigendian else '<'
    fields = {field.name: field for field in message.fields if field.datatype in _TYPES}
    missing = [name for name in 'xyz' if name not in fields]
    if missing:
        raise DataError(
            f'{topic} has no field {missing[0]} (it has {", ".join(fields)}): name a topic of points with --lidar'
        )
    names = ['x', 'y', 'z', *filter(None, [intensity_of(message)])]
    formats = [np.dtype(order + _TYPES[fields[name].datatype]) for name in names]
    offsets = [fields[name].offset for name in names]
    ends = [offset + kind.itemsize for offset, kind in zip(offsets, formats)]
    needed = message.height * message.row_step
    if max(ends) > message.point_step or message.row_step < message.width * message.point_step:
        raise DataError(f'{topic} has fields that do not fit into its point_step or row_step: record the bag again')
    if len(message.data) < needed:
        raise DataError(
            f'{topic} has a cloud of {len(message.data)} bytes, fewer than its header says: record the bag again'
        )
    row = np.dtype(dict(names=names, formats=formats, offsets=offsets, itemsize=message.point_step))
    lines = np.asarray(message.data)[:needed].reshape(message.height, message.row_step)
    table = np.ascontiguousarray(lines[:, : message.width * message.point_step]).reshape(-1).view(row)
    points = np.zeros((len(table), 4), np.float32)
    for column, name in enumerate(names):
        points[:, column] = table[name]
    valid = np.isfinite(points).all(1) & points[:, :3].any(1)
    return points[valid], int(len(points) - np.count_nonzero(valid))


def image_file(message: Any, topic: str) -> tuple[str, bytes]:
    """Suffix and content of the file of an Image (stored as PNG) or CompressedImage (stored as it is).

    Raises:
        DataError: It has an unknown codec or encoding, or is shorter than its header says.
    """
    if message.__msgtype__ == COMPRESSED:
        data = np.asarray(message.data).tobytes()
        suffix = next((end for magic, end in _MAGIC.items() if data.startswith(magic)), None)
        if suffix is None:
            raise DataError(
                f'{topic} holds images of an unknown codec ({message.format!r}): only JPEG and PNG can be stored; '
                'republish the topic as JPEG, or name others with --cameras'
            )
        return suffix, data
    if message.encoding not in _ENCODINGS:
        raise DataError(
            f'{topic} holds images of the encoding {message.encoding!r}: those that can be stored are '
            f'{", ".join(_ENCODINGS)}; republish the topic as one of them, or name others with --cameras'
        )
    channels, conversion = _ENCODINGS[message.encoding]
    if len(message.data) < message.height * message.step or message.step < message.width * channels:
        raise DataError(
            f'{topic} has an image of {len(message.data)} bytes, fewer than its header says: record the bag again'
        )
    rows = np.asarray(message.data)[: message.height * message.step].reshape(message.height, message.step)
    pixels = np.ascontiguousarray(rows[:, : message.width * channels]).reshape(message.height, message.width, channels)
    image = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    return '.png', cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def camera_entry(info: Any, topic: str, rectified: bool) -> tuple[dict, np.ndarray]:
    """Calibration of a camera by its CameraInfo.

    Args:
        info: The message.
        topic: Its topic, for errors.
        rectified: Whether the images are rectified.

    Returns:
        Keys of the camera in `calibration.json`, without `lidar2cam`, and the transform (4, 4) from the camera's frame
        to that of its images.

    Raises:
        DataError: The camera is not calibrated, or its lens has an unknown model.
    """
    intrinsics, coefficients = _numbers(info, 'k').reshape(3, 3), _numbers(info, 'd')
    if not intrinsics[0, 0]:
        raise DataError(f'{topic} is not calibrated (focal length 0): calibrate the camera, or write calibration.json')
    if rectified:
        return _rectified(info, topic)
    if not coefficients.any() and info.distortion_model not in ('equidistant', 'fisheye'):
        return {'intrinsics': intrinsics.tolist()}, np.eye(4)
    if info.distortion_model not in MODELS:
        raise DataError(
            f'{topic} has the distortion model {info.distortion_model!r}: those that can be undistorted are '
            f'{", ".join(MODELS)}; calibrate the camera with one of them'
        )
    distortion = {'distortion_model': info.distortion_model, 'distortion': coefficients.tolist()}
    return {'intrinsics': intrinsics.tolist(), **distortion}, np.eye(4)


def _rectified(info: Any, topic: str) -> tuple[dict, np.ndarray]:
    """P (R x, 1) is the pixel of a point x: its fourth column moves points to the second camera of a stereo pair."""
    projection = _numbers(info, 'p').reshape(3, 4)
    if not projection[0, 0]:
        raise DataError(
            f'{topic} has no projection matrix P, which rectified images need: import the raw images, or write '
            'calibration.json'
        )
    intrinsics = projection[:, :3]
    return {'intrinsics': intrinsics.tolist()}, rigid(
        _numbers(info, 'r').reshape(3, 3), np.linalg.solve(intrinsics, projection[:, 3])
    )


def _numbers(info: Any, name: str) -> np.ndarray:
    # ROS 1 spells the matrices in capitals
    return np.asarray(getattr(info, name, getattr(info, name.upper(), None)), np.float64)
