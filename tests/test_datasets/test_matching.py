"""Which images belong to a scan, what is left out, and the motion between scan and images."""

import numpy as np
import pytest
from peridot.datasets.recordings.matching import match, nearest_rows
from peridot.datasets.recordings.recording import find_recordings
from peridot.errors import DataError
from tiny_recording import CAMERAS, PERIOD, SCANS, TinyRecording


@pytest.fixture
def recording(tmp_path) -> TinyRecording:
    return TinyRecording(tmp_path)


def matched(recording: TinyRecording, tolerance: float = 0.05):
    (found,) = find_recordings(recording.root)
    return match(found, tolerance)


def test_by_name(recording):
    samples, notes = matched(recording)
    assert [sample.name for sample in samples] == [f'{number:03d}' for number in range(SCANS)] and not notes
    for sample in samples:
        assert sample.time is None and sample.ego2global is None and not sample.offsets
        assert {path.stem for path in sample.images.values()} == {sample.name}


def test_by_the_nearest_time(recording):
    """Against a search over all images; names say nothing."""
    rng = np.random.default_rng(1)
    times = {f'points/{i:03d}.bin': 50 + PERIOD * i for i in range(SCANS)}
    for camera in CAMERAS:
        times |= {f'images/{camera}/{i:03d}.png': 50 + rng.uniform(-0.1, PERIOD * SCANS) for i in range(SCANS)}
    recording.write_table('timestamps.csv', ('file', 'time'), [(path, repr(time)) for path, time in times.items()])
    samples, notes = matched(recording, 0.04)
    found = {sample.name: sample for sample in samples}
    expected = {}
    for number in range(SCANS):
        nearest = {}
        for camera in CAMERAS:
            images = {
                path: abs(time - times[f'points/{number:03d}.bin']) for path, time in times.items() if camera in path
            }
            path = min(images, key=images.get)
            if images[path] <= 0.04:
                nearest[camera] = recording.root / path
        if len(nearest) == len(CAMERAS):
            expected[f'{number:03d}'] = nearest
    assert 0 < len(expected) < SCANS and {name: sample.images for name, sample in found.items()} == expected
    for name, sample in found.items():
        for camera, path in sample.images.items():
            offset = times[path.relative_to(recording.root).as_posix()] - times[f'points/{name}.bin']
            assert sample.offsets[camera] == pytest.approx(offset)
    assert any('scans have no image of FRONT within 0.04 s' in note for note in notes)


def test_samples_are_in_the_order_of_their_times(recording):
    recording.write_table('timestamps.csv', ('file', 'time'), [(f'points/{i:03d}.bin', -i) for i in range(SCANS)])
    samples, _ = matched(recording)
    assert [sample.name for sample in samples] == [f'{number:03d}' for number in reversed(range(SCANS))]
    # images without times are those of the same name
    assert all(path.stem == sample.name for sample in samples for path in sample.images.values())


def test_scans_without_an_image_are_left_out(recording):
    (recording.root / 'images/BACK/002.png').unlink()
    samples, notes = matched(recording)
    assert len(samples) == SCANS - 1 and '002' not in {sample.name for sample in samples}
    assert notes == [f'{recording.root.name}: 1 of {SCANS} scans have no image of BACK of the same name (002, ...)']


def test_motion_between_scan_and_image_is_that_of_the_poses(recording):
    """A point that stands in the world lies where the moved camera sees it."""
    recording.calibration['lidar']['lidar2ego'] = [[0, -1, 0, 1.0], [1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]]
    recording.write_calibration()
    recording.write_times(lag=0.033)
    recording.write_poses()
    (found,) = find_recordings(recording.root)
    samples, notes = match(found, 0.05)
    assert not notes and len(samples) == SCANS
    lidar2ego, point = found.calibration.lidar2ego, np.array([7, 3, -1, 1.0])
    for sample in samples:
        scan, image = found.poses.at(np.array([sample.time, sample.time + 0.033]))
        np.testing.assert_allclose(sample.ego2global, scan)
        in_ego_at_image = np.linalg.solve(image, scan @ lidar2ego @ point)
        ego2cam = found.cameras['FRONT'].lidar2cam @ np.linalg.inv(lidar2ego)
        np.testing.assert_allclose(sample.lidar2cam['FRONT'] @ point, ego2cam @ in_ego_at_image, atol=1e-7)
        assert abs(sample.lidar2cam['FRONT'] - found.cameras['FRONT'].lidar2cam).max() > 0.1


def test_scans_without_poses_are_left_out(recording):
    recording.write_times()
    recording.write_poses(recording.poses()[6:])
    samples, notes = matched(recording)
    assert [sample.name for sample in samples] == ['003', '004', '005']
    assert notes == [f'{recording.root.name}: 3 of {SCANS} scans have no pose around them within 1 s']
    recording.write_poses(recording.poses(start=5000.0))
    with pytest.raises(DataError, match=r'poses.csv has no poses around the scans \(of 000, ...\)'):
        matched(recording)


def test_poses_by_name_without_times(recording):
    names = [f'{number:03d}' for number in range(1, SCANS)]
    recording.write_poses(
        [(name, *row[1:]) for name, row in zip(names, recording.poses())],
        ('name', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'),
    )
    samples, notes = matched(recording)
    assert [sample.name for sample in samples] == names and 'have no pose of their name' in notes[0]
    assert samples[1].ego2global[0, 3] == pytest.approx(recording.poses()[1, 1])


def shift_names(recording):
    for path in sorted((recording.root / 'images/FRONT').iterdir()):
        path.rename(path.with_name(f'frame{path.name}'))


def empty_images(recording):
    for path in (recording.root / 'images/FRONT').iterdir():
        path.unlink()


def alternate(recording):
    for number in range(SCANS):
        (recording.root / f'images/{CAMERAS[number % 2]}/{number:03d}.png').unlink()


NO_MATCH = [
    (
        lambda r: r.write_times(lag=0.3 + PERIOD * SCANS),
        r'no image of FRONT lies within 0.05 s of a scan \(scans from 1000.000 to ',
    ),
    (shift_names, r'no image of FRONT has the name of a scan \(scan 000, image frame000\): name them alike'),
    (empty_images, 'images/FRONT has no image: put them there, or set cameras.FRONT to null'),
    (alternate, 'no scan has an image of every camera'),
]


@pytest.mark.parametrize('damage, message', NO_MATCH, ids=[message[:30] for _, message in NO_MATCH])
def test_without_a_match_there_is_one_line(recording, damage, message):
    damage(recording)
    with pytest.raises(DataError, match=message) as error:
        matched(recording)
    assert '\n' not in str(error.value)


def test_nearest_rows_are_those_of_a_search_through_all():
    rng = np.random.default_rng(0)
    for count in (1, 2, 9):
        times, wanted = np.sort(rng.integers(0, 50, count)), rng.integers(-10, 60, 40)
        found = times[nearest_rows(times, wanted)]
        np.testing.assert_array_equal(found, [min(times, key=lambda time: (abs(time - t), time)) for t in wanted])
