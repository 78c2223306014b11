"""Undistorted images: points lie where OpenCV's own functions put them, and so do pixels."""

import cv2
import numpy as np
import pytest
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.recordings.calibration import CameraModel
from peridot.datasets.recordings.undistort import Pinhole, Undistortion, inversion_error
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
    view = Pinhole(Undistortion.of(camera, SIZE, 'camera').cam2img, SIZE)
    assert inversion_error(camera, view) < 0.01
    other = CameraModel(INTRINSICS, False, np.array([-2.5, 0.1, 0, 0]), camera.lidar2cam)
    assert inversion_error(other, view) > 100


def test_coefficients_of_a_fisheye_that_do_not_invert_in_the_corners():
    """The angle from the axis turns around between the sides and the corners of the undistorted image."""
    size = (640, 640)
    camera = CameraModel(
        np.array([[560, 0, 320], [0, 560, 320], [0, 0, 1.0]]), True, np.array([-0.41, 0, 0, 0]), np.eye(4)
    )
    assert inversion_error(camera, Pinhole(Undistortion.of(camera, size, 'camera').cam2img, size)) > 10


def wide_lens(degrees: float, size: tuple[int, int], coefficients: list[float]) -> CameraModel:
    """A fisheye with so many degrees from the left to the right border, a little off its center."""
    height, width = size
    angle = np.radians(degrees / 2)
    focal = width / 2 / (angle ** (1, 3, 5, 7, 9) @ (1, *coefficients))
    intrinsics = np.array([[focal, 0, 0.52 * width], [0, 1.01 * focal, 0.47 * height], [0, 0, 1]])
    return CameraModel(intrinsics, True, np.array(coefficients), lidar2cam(0.1))


@pytest.mark.parametrize('degrees', [150, 170, 180, 190, 220])
@pytest.mark.parametrize('size', [(360, 640), (640, 360), (400, 400)])
@pytest.mark.parametrize('coefficients', [[0.0] * 4, [-0.02, 0.005, -0.001, 0.0], [0.05, -0.01, 0.002, 0.0]])
def test_wide_fisheyes_keep_a_view_of_120_degrees(degrees, size, coefficients):
    camera = wide_lens(degrees, size, coefficients)
    lens = Undistortion.of(camera, size, 'camera')
    focal, longest = np.diag(lens.cam2img)[:2], np.argmax(size[::-1])
    assert focal[1] == pytest.approx(1.01 * focal[0])
    view = 2 * np.degrees(np.arctan(size[::-1][longest] / 2 / focal[longest]))
    assert 90 < view < 120.5 and (view > 115 or size == (640, 360))
    assert inversion_error(camera, Pinhole(lens.cam2img, size)) < 0.01
    # the undistorted image shows only what the distorted one has
    columns, rows = cv2.convertMaps(*lens.maps, cv2.CV_32FC1)
    assert columns.min() > -0.5 and columns.max() < size[1] - 0.5
    assert rows.min() > -0.5 and rows.max() < size[0] - 0.5
    points = cloud(np.random.default_rng(0), 3000)[:, :3].astype(np.float64)
    pairs = project_to_cameras(points, camera.lidar2cam[None], lens.cam2img[None], np.array([size]))
    pixel = np.rint(pairs.position.numpy()).astype(int)
    found = np.stack([maps[tuple(pixel.T)] for maps in (columns, rows)], 1)
    # half a pixel of rounding, magnified where the undistorted image is coarser
    assert len(pairs) > 200 and np.abs(found - distorted_pixels(camera, points[pairs.point])).max() < 2


@pytest.mark.parametrize('coefficients', [[1e9, -1e9, 1e9, 1e9], [-5.0, 0.0, 0.0, 0.0]])
def test_coefficients_that_leave_no_image(coefficients):
    camera = CameraModel(INTRINSICS, True, np.array(coefficients), np.eye(4))
    with pytest.raises(DataError, match=r'calibration.json: cameras.A.distortion leaves no image: check the coeff'):
        Undistortion.of(camera, SIZE, 'calibration.json: cameras.A')
