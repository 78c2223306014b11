"""Mistakes in a recording show in its numbers; good recordings give no warning."""

import re
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.projection import project_to_cameras
from peridot.datasets.recordings.checks import check, table
from peridot.datasets.recordings.matching import match
from peridot.datasets.recordings.products import Products
from peridot.datasets.recordings.recording import Recording, find_recordings
from peridot.datasets.recordings.suspicions import about_clocks
from peridot.errors import DataError
from scipy.spatial.transform import Rotation
from tiny_recording import CAMERAS, FOCAL, SCANS, TinyRecording, lidar2cam


@pytest.fixture
def recording(tmp_path) -> TinyRecording:
    return TinyRecording(tmp_path / 'drive')


def finding(recording: TinyRecording, tolerance: float = 0.5):
    recording.write_calibration()
    (found,) = find_recordings(recording.root)
    return check(found, match(found, tolerance)[0], Products(found, recording.root).cameras)


def test_numbers_of_a_good_recording(recording):
    recording.write_times(lag=0.02)
    recording.write_poses()
    found = finding(recording)
    assert not found.warnings and [row.camera for row in found.rows] == list(CAMERAS)
    seen = [
        len(
            project_to_cameras(
                points, lidar2cam(0)[None], np.array([[[FOCAL, 0, 80], [0, FOCAL, 45], [0, 0, 1]]]), [(90, 160)]
            )
        )
        for points in recording.clouds
    ]
    row = found.rows[0]
    assert (row.camera, row.images, row.size) == ('FRONT', SCANS, (90, 160)) and row.view.tilt < 1e-6
    # the matrices of the samples hold the motion until the image is taken
    assert row.view.fraction == pytest.approx(np.mean(seen) / 900, abs=0.015)
    np.testing.assert_allclose(row.offsets, 20, atol=1e-6)


def test_the_table_has_a_line_for_each_camera(recording):
    recording.write_times(lag=0.02)
    rows = finding(recording).rows
    (recording.root / 'timestamps.csv').unlink()
    others = finding(recording).rows
    lines = table([*rows, *others]).splitlines()
    assert len(lines) == 1 + len(CAMERAS) and lines[1].split()[:3] == ['FRONT', str(2 * SCANS), '160x90']
    assert [line.index('160x90') for line in lines[1:]] == [lines[0].index('size')] * 2
    assert lines[1].split()[-4:] == ['0', 'degrees', '+20', 'ms'] and table(others).endswith('same name')


def test_synthetic_streets_have_no_warning(folder_root):
    for found in find_recordings(folder_root):
        result = check(found, match(found, 0.05)[0], Products(found, folder_root).cameras)
        assert result.warnings == [] and len(result.rows) == 6


@pytest.mark.parametrize('mistake', ['inverse', 'w first', 'w last'])
def test_a_mistaken_pose_of_the_synthetic_cameras_is_named(folder_root, mistake):
    """The cameras look in all directions; their lidar's y axis points ahead."""

    def change(matrix: np.ndarray) -> np.ndarray:
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        changed = matrix.copy()
        order = {'w first': [w, x, y, z], 'w last': [y, z, w, x]}
        changed[:3, :3] = Rotation.from_quat(order.get(mistake, [x, y, z, w])).as_matrix()
        return np.linalg.inv(matrix) if mistake == 'inverse' else changed

    found = find_recordings(folder_root)[0]
    cameras = Products(found, folder_root).cameras
    for camera in found.cameras.values():
        camera.lidar2cam[:] = change(camera.lidar2cam)
    result = check(found, match(found, 0.05)[0], cameras)
    words = {'inverse': 'camera to lidar', 'w first': 'qw, qx, qy, qz that was read', 'w last': 'that was read as qw'}
    (warning,) = [line for line in result.warnings if 'lidar2cam' in line]
    assert words[mistake] in warning and 'CAM_FRONT' in warning and '% instead of' in warning


def camera_to_lidar(recording):
    for camera in recording.calibration['cameras'].values():
        camera['lidar2cam'] = np.linalg.inv(camera['lidar2cam']).tolist()


def in_millimeters(recording):
    for number, points in enumerate(recording.clouds):
        (points * np.float32([1000, 1000, 1000, 1])).tofile(recording.root / f'points/{number:03d}.bin')


def declared_in_millimeters(recording):
    recording.calibration['lidar']['unit'] = 'mm'


def in_the_world(recording):
    for number, points in enumerate(recording.clouds):
        (points + np.float32([4000, -700, 0, 0])).tofile(recording.root / f'points/{number:03d}.bin')
    for camera in recording.calibration['cameras'].values():
        # with the vehicle standing there, so that they are seen
        move = np.eye(4)
        move[:3, 3] = (-4000, 700, 0)
        camera['lidar2cam'] = (np.array(camera['lidar2cam']) @ move).tolist()


def in_a_fixed_frame(recording):
    for number, points in enumerate(recording.clouds):
        (points + np.float32([20 * number, 0, 0, 0])).tofile(recording.root / f'points/{number:03d}.bin')


def far_camera(recording):
    matrix = np.array(recording.calibration['cameras']['FRONT']['lidar2cam'])
    matrix[:3, 3] *= 1000
    recording.calibration['cameras']['FRONT']['lidar2cam'] = matrix.tolist()


def half_the_size(recording):
    for number in range(SCANS):
        recording.save_image(f'images/FRONT/{number:03d}.png', (80, 45))


def looks_up(recording):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('x', -np.pi / 2).as_matrix()
    recording.calibration['cameras']['FRONT']['lidar2cam'] = (turn @ lidar2cam(0)).tolist()


def other_lens(recording):
    recording.calibration['cameras']['FRONT']['distortion'] = [-2.5, 0.1, 0, 0]


def intensity_range(low: float, high: float):
    return lambda recording: recording.calibration['lidar'].update(intensity_range=[low, high])


def fast(recording):
    recording.write_times()
    rows = recording.poses()
    rows[:, 1:4] *= 1000
    recording.write_poses(rows)


def w_first(recording):
    recording.write_times()
    rows = recording.poses()
    rows[:, 4:] = rows[:, [7, 4, 5, 6]]
    recording.write_poses(rows)


MISTAKES = [
    (camera_to_lidar, r'lidar2cam of FRONT, BACK seems to be camera to lidar \(write the inverse\), which would put'),
    (in_millimeters, r'the median distance of the points is 2\d{4}.\d+ m: the unit seems to be cm or mm'),
    (in_the_world, r'the points lie around \(40\d\d, -[67]\d\d, -?\d\) m: they seem to be in a world frame'),
    (
        in_a_fixed_frame,
        r'the points move by (9|10)\d m from the first to the last scan: they seem to be in a fixed frame',
    ),
    (far_camera, r'FRONT is 374.2 m from the lidar: transforms are in meters'),
    (half_the_size, r'principal point of FRONT lies at 100 % of the width and 100 % of the height'),
    (looks_up, r'only 0 % of the points lie in the image of FRONT: look at its overlay'),
    (other_lens, r'the distortion of FRONT does not invert at the border of the image \(off by \d+'),
    (intensity_range(0, 100), r'6\d % of the intensities are outside their range \(0 to 255\): \S+ declares 0 to 100'),
    (intensity_range(0, 65535), r'the largest intensity is 255: \S+ declares 0 to 65535'),
    (fast, r'the poses move at 1\d{4} m/s: x, y and z are in meters'),
    (w_first, r'the vehicle lies on its side or roof in 100 % of the poses, but stands if their quaternions are qw'),
]


@pytest.mark.parametrize('make, message', MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_a_mistake_gives_a_warning_of_one_line(recording, make, message):
    make(recording)
    warnings = finding(recording).warnings
    assert any(re.search(message, warning) for warning in warnings), warnings
    assert all(warning.startswith('drive: ') and '\n' not in warning for warning in warnings)


def clocks(scans: np.ndarray, images: np.ndarray, names=None) -> list[str]:
    """Warnings for times in seconds of scans and of images, the latter numbered like the scans if not named."""
    points = {f'{number:06d}': Path(f'points/{number:06d}.bin') for number in range(len(scans))}
    names = [f'{number:06d}' for number in range(len(images))] if names is None else names
    files = {name: Path(f'images/A/{name}.jpg') for name in names}
    times = {**dict(zip(points.values(), scans)), **dict(zip(files.values(), images))}
    return list(about_clocks(Recording(Path('drive'), '', None, {'A': None}, points, {'A': files}, {}, times, None)))


@pytest.mark.parametrize('rate', [10, 15, 20, 25, 30, None])
@pytest.mark.parametrize('seconds', [10, 60])
def test_cameras_that_run_freely_give_no_warning(rate, seconds):
    """All on one clock, with all images, and with the nearest image of each scan exported under its name."""
    rng = np.random.default_rng(seconds)
    for _ in range(30):
        true_rate = rng.uniform(15, 30) if rate is None else rate * (1 + rng.normal() * rng.choice([1e-4, 1e-3, 5e-3]))
        scans = 1.5e9 + np.arange(0, seconds, 0.1) + rng.normal(0, 5e-4, 10 * seconds)
        images = 1.5e9 + np.arange(rng.uniform(-1, -0.9), seconds + 1, 1 / true_rate)
        images += rng.normal(0, 5e-4, len(images))
        later = np.searchsorted(images, scans)
        nearest = np.where(scans - images[later - 1] < images[later] - scans, images[later - 1], images[later])
        assert not clocks(scans, images) and not clocks(scans, nearest)
        assert not clocks(scans, images, names=[f'{1e9 * time:.0f}' for time in images])


@pytest.mark.parametrize('first, last', [(5, 90), (20, -400), (-10, 3000)])
def test_clocks_that_drift_apart_are_found(first, last):
    """Images that the scans trigger; in the end the nearest one is that of another scan."""
    rng = np.random.default_rng(0)
    scans = 1.5e9 + np.arange(0, 60, 0.1)
    images = scans + np.linspace(first, last, len(scans)) / 1000 + rng.normal(0, 5e-4, len(scans))
    (warning,) = clocks(scans, images)
    found = re.search(
        r'^drive: the clock of A seems to drift from (\S+) to (\S+) ms against that of the lidar', warning
    )
    assert [float(text) for text in found.groups()] == pytest.approx([first, last], abs=0.06 * abs(last - first))
    # too few to tell, or a constant delay
    assert not clocks(scans[:29], images[:29]) and not clocks(scans, scans + last / 1000)


def behind_glass(recording):
    """All points behind the cameras."""
    del recording.calibration['cameras']['BACK']
    (recording.root / 'images/BACK').rename(recording.root / 'back')
    for number, points in enumerate(recording.clouds):
        points[:, 0] = -abs(points[:, 0]) - 3
        points.tofile(recording.root / f'points/{number:03d}.bin')


@pytest.mark.parametrize(
    'make, message',
    [
        (behind_glass, 'lidar2cam of FRONT seems to be'),
        (declared_in_millimeters, r'the median distance of the points is 0.02\d m: the unit seems to be m '),
    ],
)
def test_no_point_in_any_image_is_an_error(recording, make, message):
    make(recording)
    with pytest.raises(DataError, match=f'calibration.json: no point of drive lies in any image: {message}') as error:
        finding(recording)
    assert '\n' not in str(error.value)


def test_points_that_are_not_finite_do_not_hide_the_others(recording):
    expected = table(finding(recording).rows)
    for number, points in enumerate(recording.clouds):
        np.concatenate([points, np.full((5, 4), np.nan, np.float32)]).tofile(
            recording.root / f'points/{number:03d}.bin'
        )
    assert table(finding(recording).rows) == expected


def test_scans_without_any_point_that_is_finite(recording):
    for number in range(SCANS):
        np.full((900, 4), np.nan, np.float32).tofile(recording.root / f'points/{number:03d}.bin')
    with pytest.raises(DataError, match=r'000.bin has no point that is finite'):
        finding(recording)
