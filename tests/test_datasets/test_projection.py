import numpy as np
import pytest
from peridot.datasets import project_to_cameras

HEIGHT, WIDTH = 90, 160


def random_rig(seed: int = 0, cameras: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    rotations = np.linalg.qr(rng.normal(size=(cameras, 3, 3)))[0]
    lidar2cam = np.tile(np.eye(4), (cameras, 1, 1))
    lidar2cam[:, :3, :3], lidar2cam[:, :3, 3] = rotations, rng.normal(size=(cameras, 3))
    cam2img = np.tile(np.array([[110.0, 0.3, 80], [0, 100, 45], [0, 0, 1]]), (cameras, 1, 1))
    points = rng.uniform(-30, 30, (3000, 4)).astype(np.float32)
    return points, lidar2cam, cam2img, np.tile([HEIGHT, WIDTH], (cameras, 1))


def naive(points, lidar2cam, cam2img, sizes, min_depth=1.0) -> list[tuple]:
    found = []
    for camera in range(len(lidar2cam)):
        for index, point in enumerate(points.astype(np.float64)):
            in_camera = lidar2cam[camera] @ np.array([*point[:3], 1])
            u, v, w = cam2img[camera][:3, :3] @ in_camera[:3]
            if w > min_depth and 0 < u / w < sizes[camera][1] - 1 and 0 < v / w < sizes[camera][0] - 1:
                found.append((index, camera, v / w, u / w))
    return found


def test_equals_a_loop_over_cameras_and_points():
    rig = random_rig()
    expected, pairs = naive(*rig), project_to_cameras(*rig)
    assert pairs.point.tolist() == [row[0] for row in expected]
    assert pairs.camera.tolist() == [row[1] for row in expected]
    assert np.abs(pairs.position.numpy() - np.array([row[2:] for row in expected])).max() < 1e-2
    assert len(expected) > 200
    assert (np.diff(pairs.camera.numpy()) >= 0).all()


def test_every_camera_has_its_own_size_and_depth_counts():
    points, lidar2cam, cam2img, sizes = random_rig(1)
    sizes = np.array([[90, 160], [45, 160], [90, 80], [30, 40]])
    expected = naive(points, lidar2cam, cam2img, sizes, min_depth=12.0)
    pairs = project_to_cameras(points, lidar2cam, cam2img, sizes, min_depth=12.0)
    assert list(zip(pairs.point.tolist(), pairs.camera.tolist())) == [row[:2] for row in expected]


def test_borders_are_open():
    """Straight ahead camera: (u, v) = (x, y) / z with z = 2; on the border is outside, just inside is inside."""
    uv = np.array([[0, 5], [0.001, 5], [9, 5], [8.999, 5], [5, 0], [5, 0.001], [5, 7], [5, 6.999]])
    points = np.concatenate([uv * 2, np.full((8, 1), 2)], 1).astype(np.float32)
    pairs = project_to_cameras(points, np.eye(4)[None], np.eye(3)[None], np.array([[8, 10]]))
    assert pairs.point.tolist() == [1, 3, 5, 7]
    np.testing.assert_allclose(pairs.position.numpy(), uv[[1, 3, 5, 7], ::-1], atol=1e-5)
    at_depth = np.array([[2, 2, 1.0], [2, 2, 1.001]], np.float32)
    assert project_to_cameras(at_depth, np.eye(4)[None], np.eye(3)[None], np.array([[8, 10]])).point.tolist() == [1]


def test_intrinsics_of_four_columns():
    """KITTI's P2 has a translation; 3x3 intrinsics are the special case without one."""
    points, lidar2cam, cam2img, sizes = random_rig(2)
    full = np.tile(np.eye(4), (4, 1, 1))
    full[:, :3, :3] = cam2img
    same = project_to_cameras(points, lidar2cam, full, sizes)
    assert np.array_equal(same.position, project_to_cameras(points, lidar2cam, cam2img, sizes).position)
    full[:, :3, 3] = (45.0, -0.3, 0.005)
    moved = project_to_cameras(points, lidar2cam, full, sizes)
    camera, point = int(moved.camera[0]), int(moved.point[0])
    projected = full[camera] @ lidar2cam[camera] @ np.array([*points[point, :3], 1])
    np.testing.assert_allclose(moved.position[0], projected[1::-1] / projected[2], atol=1e-2)


@pytest.mark.parametrize('points, cameras', [(0, 4), (5, 0), (0, 0)])
def test_nothing_to_project(points, cameras):
    cloud, lidar2cam, cam2img, sizes = random_rig()
    assert len(project_to_cameras(cloud[:points], lidar2cam[:cameras], cam2img[:cameras], sizes[:cameras])) == 0
