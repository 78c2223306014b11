"""Rigid transforms as users write them: 4x4 matrices, or a translation with a quaternion or angles."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from peridot.errors import DataError

# of matrices typed with four digits
_ROUNDING = 2e-3
_FORMS = 'a 4x4 matrix, or {"translation": [x, y, z]} with "quaternion": [qx, qy, qz, qw] or "rpy": [roll, pitch, yaw]'


def read_transform(value, where: str) -> np.ndarray:
    """A rigid transform.

    Args:
        value: Nested list 4x4, or a dict of `translation` in meters and `quaternion` (qx, qy, qz, qw) or `rpy` (roll,
            pitch, yaw in radians about the fixed axes x, y, z, as in URDF).
        where: File and key, for errors.

    Returns:
        Float64 (4, 4).

    Raises:
        DataError: It has another form, or its rotation is not one.
    """
    if isinstance(value, dict):
        return _from_parts(value, where)
    matrix = numbers(value, (4, 4), where, _FORMS)
    if abs(matrix[3] - (0, 0, 0, 1)).max() > _ROUNDING:
        raise DataError(
            f'{where}: the last row is {matrix[3].tolist()}, not 0, 0, 0, 1: transpose the matrix, or fix it'
        )
    check_rotation(matrix[:3, :3], where)
    return matrix


def check_rotation(matrix: np.ndarray, where: str) -> None:
    """Raise a DataError unless a matrix (3, 3) turns without stretching or mirroring."""
    lengths = np.linalg.norm(matrix, axis=0)
    defect = abs(matrix.T @ matrix - np.eye(3)).max()
    if defect > _ROUNDING:
        sizes = ', '.join(f'{length:.4g}' for length in lengths)
        raise DataError(
            f'{where} is not a rotation (its axes have the lengths {sizes}, and R^T R is off by {defect:.2g}): write a '
            'rotation matrix; scales do not belong there'
        )
    if np.linalg.det(matrix) < 0:
        raise DataError(
            f'{where} is left-handed (determinant -1): an axis is mirrored; both frames must be right-handed, so turn '
            'one axis around'
        )


def is_rotation(matrix: np.ndarray) -> bool:
    """Whether a matrix (3, 3) passes `check_rotation`."""
    try:
        check_rotation(matrix, 'matrix')
    except DataError:
        return False
    return True


def numbers(value, shape: tuple[int, ...], where: str, wanted: str) -> np.ndarray:
    """Finite numbers of a shape, float64; a DataError says what was wanted instead."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(f'{where} must be {wanted}')
    return array


def quaternion_rotations(values: np.ndarray, where: str) -> Rotation:
    """Rotations of quaternions (N, 4), qx, qy, qz, qw; a DataError names the first that is not of unit length."""
    lengths = np.linalg.norm(values, axis=1)
    wrong = np.flatnonzero(abs(lengths - 1) > 0.01)
    if len(wrong):
        given = ', '.join(f'{number:.4g}' for number in values[wrong[0]])
        row = f', row {wrong[0] + 1}' if len(values) > 1 else ''
        raise DataError(
            f'{where}{row}: the quaternion ({given}) has length {lengths[wrong[0]]:.3g}, not 1: write qx, qy, qz, qw, '
            'no angles'
        )
    return Rotation.from_quat(values)


def rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Matrices (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    matrix = np.zeros((*np.shape(translation)[:-1], 4, 4))
    matrix[..., :3, :3], matrix[..., :3, 3], matrix[..., 3, 3] = rotation, translation, 1
    return matrix


def _from_parts(value: dict, where: str) -> np.ndarray:
    kinds = set(value) - {'translation'}
    if 'translation' not in value or kinds not in ({'quaternion'}, {'rpy'}):
        raise DataError(f'{where} has the keys {", ".join(value) or "none"}: write {_FORMS}')
    translation = numbers(value['translation'], (3,), f'{where}.translation', 'three numbers in meters')
    if 'quaternion' in kinds:
        quaternion = numbers(value['quaternion'], (4,), f'{where}.quaternion', 'four numbers qx, qy, qz, qw')
        return rigid(quaternion_rotations(quaternion[None], f'{where}.quaternion').as_matrix()[0], translation)
    angles = numbers(value['rpy'], (3,), f'{where}.rpy', 'three angles in radians')
    if abs(angles).max() > 2 * np.pi:
        raise DataError(
            f'{where}.rpy has an angle of {angles[abs(angles).argmax()]:g} radians, which is more than a turn: it '
            f'seems to be in degrees; write {np.round(np.deg2rad(angles), 6).tolist()}'
        )
    return rigid(Rotation.from_euler('xyz', angles).as_matrix(), translation)
