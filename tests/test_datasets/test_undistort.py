"""Undistorted images: points lie where OpenCV's own functions put them, and so do pixels."""

import cv2
import numpy as np
import pytest
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.recordings.calibration import CameraModel
from peridot.datasets.recordings.undistort import Undistortion, inversion_error
from peridot.errors import DataError
from tiny_recording import cloud, lidar2cam

SIZE = (360, 640)
INTRINSICS = np.array([[420, 0, 330], [0, 425, 170], [0, 0, 1.0]])
LENSES = {
    'plumb_bob': (False, [-0.25, 0.07, 0.001, -0.0005, -0.01]),
    'rational_polynomial': (False, [0.2, -0.1, 0.0005, 0.0002, 0.01, 0.5, -0.15, 0.02]),
    'fisheye': (True, [-0.02, 0.005, -0.001, 0.0]),
    'fisheye without coefficients': (True, [0.0] * 4),
}


@pytest.fixture(params=LENSES.values(), ids=LENSES)
def camera(request) -> CameraModel:
    fisheye, coefficients = request.param
    return CameraModel(INTRINSICS, fisheye, np.array(coefficients), lidar2cam(0.1))


def distorted_pixels(camera: CameraModel, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 3) in the distorted image, by OpenCV."""
    turn, move = cv2.Rodrigues(camera.lidar2cam[:3, :3])[0], camera.lidar2cam[:3, 3]
    if camera.fisheye:
        return cv2.fisheye.projectPoints(points[:, None], turn, move, camera.intrinsics, camera.distortion)[0][:, 0]
    return cv2.projectPoints(points, turn, move, camera.intrinsics, camera.distortion)[0][:, 0]


def test_positions_of_pairs_are_those_of_opencv(camera):
    """Projected into the distorted image by OpenCV, and undistorted by OpenCV: what the linear projection says."""
    lens = Undistortion.of(camera, SIZE, 'camera')
    points = cloud(np.random.default_rng(0), 3000)[:, :3].astype(np.float64)
    pairs = project_to_cameras(points, camera.lidar2cam[None], lens.cam2img[None], np.array([SIZE]))
    pixels = distorted_pixels(camera, points[pairs.point])
    if camera.fisheye:
        undistorted = cv2.fisheye.undistortPoints(
            pixels[:, None], camera.intrinsics, camera.distortion, None, lens.cam2img
        )
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        undistorted = cv2.undistortPointsIter(
            pixels[:, None], camera.intrinsics, camera.distortion, None, lens.cam2img, criteria
        )
    assert len(pairs) > 300
    np.testing.assert_allclose(undistorted[:, 0, ::-1], pairs.position, atol=0.02)
    # all of them are seen by the distorted image
    assert (pixels > -0.5).all() and (pixels < np.array(SIZE[::-1]) - 0.5).all()


def test_pixels_move_with_the_points(camera):
    """A smooth image of pixel positions, undistorted, says where each pixel was."""
    lens = Undistortion.of(camera, SIZE, 'camera')
    row, column = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    moved = lens.apply(np.stack([column, row, 0 * row], 2))[..., :2]
    points = cloud(np.random.default_rng(1), 3000)[:, :3].astype(np.float64)
    pairs = project_to_cameras(points, camera.lidar2cam[None], lens.cam2img[None], np.array([SIZE]))
    pixel = np.rint(pairs.position.numpy()).astype(int)
    inner = (pixel > 2).all(1) & (pixel < np.array(SIZE) - 3).all(1)
    found = moved[pixel[inner, 0], pixel[inner, 1]]
    # half a pixel of rounding, magnified where the undistorted image is coarser
    assert np.abs(found - distorted_pixels(camera, points[pairs.point])[inner]).max() < 2


def test_good_coefficients_invert_and_those_of_another_lens_do_not(camera):
    assert inversion_error(camera, SIZE) < 0.01
    other = CameraModel(INTRINSICS, False, np.array([-2.5, 0.1, 0, 0]), camera.lidar2cam)
    assert inversion_error(other, SIZE) > 100


def test_coefficients_that_leave_no_image(monkeypatch):
    camera = CameraModel(INTRINSICS, True, np.array([1e9, -1e9, 1e9, 1e9]), np.eye(4))
    with pytest.raises(DataError, match=r'calibration.json: cameras.A.distortion leaves no image: check the coeff'):
        Undistortion.of(camera, SIZE, 'calibration.json: cameras.A')
