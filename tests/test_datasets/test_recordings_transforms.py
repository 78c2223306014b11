"""Rigid transforms in all forms that users write, and the mistakes in them."""

import numpy as np
import pytest
from peridot.datasets.recordings.transforms import quaternion_rotations, read_transform
from peridot.errors import DataError
from scipy.spatial.transform import Rotation

ANGLES = np.array([0.2, -0.4, 2.5])
ROTATION = Rotation.from_euler('xyz', ANGLES).as_matrix()
MATRIX = np.eye(4)
MATRIX[:3, :3], MATRIX[:3, 3] = ROTATION, (1, 2, 3)


def changed(rows=slice(0, 3), columns=slice(0, 3), values=None) -> list:
    matrix = MATRIX.copy()
    matrix[rows, columns] = values
    return matrix.tolist()


def test_all_forms_are_the_same_transform():
    quaternion = Rotation.from_matrix(ROTATION).as_quat().tolist()
    forms = [
        MATRIX.tolist(),
        {'translation': [1, 2, 3], 'quaternion': quaternion},
        {'translation': [1, 2, 3], 'rpy': ANGLES.tolist()},
    ]
    for form in forms:
        np.testing.assert_allclose(read_transform(form, 'here'), MATRIX, atol=1e-12)


def test_roll_pitch_and_yaw_turn_about_fixed_axes():
    """A mast that leans to the right, then is turned to the left: naively, one rotation after another."""
    about_x = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
    about_z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    found = read_transform({'translation': [0, 0, 0], 'rpy': [0.1, 0, np.pi / 2]}, 'here')
    np.testing.assert_allclose(found[:3, :3], about_z @ about_x, atol=1e-12)


def test_rounded_matrices_are_taken_as_they_are():
    np.testing.assert_array_equal(read_transform(MATRIX.round(4).tolist(), 'here'), MATRIX.round(4))


BAD = [
    (changed(values=1.01 * ROTATION), r'is not a rotation \(its axes have the lengths 1.01, 1.01, 1.01'),
    (changed(values=ROTATION + 0.05), 'is not a rotation'),
    (changed(values=ROTATION * [1, -1, 1]), r'is left-handed \(determinant -1\)'),
    (MATRIX.T.tolist(), r'the last row is \[1.0, 2.0, 3.0, 1.0\], not 0, 0, 0, 1: transpose'),
    (MATRIX[:3].tolist(), 'must be a 4x4 matrix, or'),
    (changed(0, 0, np.nan), 'must be a 4x4 matrix, or'),
    ([[10**400] * 4] * 4, 'must be a 4x4 matrix, or'),
    ('forward', 'must be a 4x4 matrix, or'),
    ({'translation': [0, 0, 0]}, 'has the keys translation: write a 4x4'),
    ({'translation': [0, 0, 0], 'rpy': [0, 0, 0], 'quaternion': [0, 0, 0, 1]}, 'has the keys'),
    ({'translation': [0, 0], 'rpy': [0, 0, 0]}, 'translation must be three numbers in meters'),
    (
        {'translation': [0, 0, 0], 'rpy': [-90, 0, 90]},
        r'angle of -90 radians, .* in degrees; write \[-1.570796, 0.0, 1.570796\]',
    ),
    (
        {'translation': [0, 0, 0], 'quaternion': [10, 0, 0, 90]},
        r'the quaternion \(10, 0, 0, 90\) has length 90.6, not 1',
    ),
]


@pytest.mark.parametrize('value, message', BAD, ids=[message[:30] for _, message in BAD])
def test_a_wrong_transform_is_one_line(value, message):
    with pytest.raises(DataError, match=f'calibration.json: lidar2cam.*{message}') as error:
        read_transform(value, 'calibration.json: lidar2cam')
    assert '\n' not in str(error.value)


def test_the_row_of_a_wrong_quaternion_is_named():
    with pytest.raises(DataError, match=r'poses.csv, row 2: the quaternion \(0, 0, 0, 2\)'):
        quaternion_rotations(np.array([[0, 0, 0, 1.0], [0, 0, 0, 2]]), 'poses.csv')
