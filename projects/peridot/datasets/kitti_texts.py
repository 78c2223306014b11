"""Text files of KITTI and its relatives, with any blanks between the numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from peridot.errors import DataError
from peridot.files import read_lines

# names of the tracking benchmark's calibrations
_OTHER_NAMES = {'R0_rect': 'R_rect', 'Tr_velo_to_cam': 'Tr_velo_cam', 'Tr_imu_to_velo': 'Tr_imu_velo'}
_LABEL_FIELDS = 15
_MATRIX = re.compile(r'(\w+)\s*[:\s]\s*(.*)')


def read_calibration(
    path: Path, shapes: Mapping[str, tuple[int, int]], archive: str, optional: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Matrices of a file with lines `name: numbers` or `name numbers`.

    Args:
        path: The file.
        shapes: Shape of each matrix, by the name that the object or odometry benchmark gives it.
        archive: Archive that holds the file, for errors.
        optional: Matrices that may be absent.

    Returns:
        Float64 (4, 4) by name; the identity where an optional one is absent.

    Raises:
        DataError: The file or a matrix is missing, or has another shape or values that are not finite.
    """
    try:
        texts = dict(match.groups() for match in map(_MATRIX.fullmatch, read_lines(path)) if match)
    except (OSError, UnicodeDecodeError):
        raise DataError(f'{path} cannot be read: unpack {archive}') from None
    matrices = {}
    for name, shape in shapes.items():
        matrix = matrices[name] = np.eye(4)
        text = texts.get(name, texts.get(_OTHER_NAMES.get(name)))
        if text is None and name in optional:
            continue
        try:
            matrix[: shape[0], : shape[1]] = np.array(text.split(), float).reshape(shape)
            if not np.isfinite(matrix).all():
                raise ValueError(name)
        except (AttributeError, ValueError):
            raise DataError(f'{path} has no {name} of {shape[0] * shape[1]} numbers: unpack {archive} again') from None
    return matrices


def read_rows(path: Path, columns: int, count: int) -> np.ndarray:
    """The first `count` rows Float64 (count, columns) of a table of finite numbers.

    Raises:
        DataError: It is missing, shorter, or anything else.
    """
    try:
        rows = np.array([line.split() for line in read_lines(path)], float)[:count]
    except (OSError, ValueError):
        rows = np.empty((0, 0))
    if rows.shape != (count, columns) or not np.isfinite(rows).all():
        raise DataError(
            f'{path} is no table of {count} rows of {columns} numbers, one a scan: unpack the archive that it came in '
            'again, or remove it to do without poses'
        )
    return rows


def read_objects(path: Path, archive: str) -> list[list[str]]:
    """Fields of the objects of a label file, as many of each; `DontCare` comes last, as in KITTI's own files.

    Raises:
        DataError: A line is no object.
    """
    objects = []
    try:
        lines = read_lines(path)
    except (OSError, UnicodeDecodeError):
        raise DataError(f'{path} cannot be read: unpack {archive} again') from None
    for number, line in enumerate(lines, 1):
        name, *fields = line.split()
        try:
            if len(fields) < _LABEL_FIELDS - 1 or not np.isfinite([float(field) for field in fields]).all():
                raise ValueError(line)
            # mmdet3d's converter reads the second number, whether the object is hidden, as an integer
            fields[1] = str(int(float(fields[1])))
        except (OverflowError, ValueError):
            raise DataError(
                f'{path}, line {number}: an object has a class and {_LABEL_FIELDS - 1} numbers: unpack {archive} again'
            ) from None
        objects.append([name, *fields])
    shortest = min(map(len, objects), default=0)
    return sorted((fields[:shortest] for fields in objects), key=lambda fields: fields[0] == 'DontCare')
