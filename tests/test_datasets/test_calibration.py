"""`calibration.json`: what it says, and one line for whatever is wrong in it."""

import re
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.recordings.calibration import read_calibration
from peridot.errors import DataError
from tiny_recording import FOCAL, TinyRecording


@pytest.fixture
def recording(tmp_path) -> TinyRecording:
    return TinyRecording(tmp_path)


def read(recording):
    recording.write_calibration()
    return read_calibration(recording.root / 'calibration.json')


def test_defaults(recording):
    found = read(recording)
    assert found.points.columns == ('x', 'y', 'z', 'intensity') and found.points.unit == 1
    assert found.points.row.itemsize == 16 and found.points.intensity_range == (0, 255)
    np.testing.assert_array_equal(found.lidar2ego, np.eye(4))
    camera = found.cameras['FRONT']
    assert camera.intrinsics[0, 0] == FOCAL and not camera.fisheye and not len(camera.distortion)


def test_columns_may_have_types_and_names_of_their_own(recording):
    columns = ['x', 'y', 'z', 'reflectivity', 'ring']
    recording.calibration['lidar'] = {
        'columns': columns,
        'dtype': ['float32', 'float32', 'float32', 'uint8', 'uint16'],
        'intensity': 'reflectivity',
        'intensity_range': [0, 255],
        'unit': 'mm',
    }
    form = read(recording).points
    assert form.row.itemsize == 15 and form.intensity == 'reflectivity' and form.unit == 0.001
    recording.calibration['lidar'] = {'columns': columns, 'intensity': None}
    assert read(recording).points.intensity is None


@pytest.mark.parametrize(
    'model, coefficients, fisheye, kept',
    [
        ('plumb_bob', [0.0] * 5, False, []),
        ('plumb_bob', [-0.3, 0.1, 0, 0], False, [-0.3, 0.1, 0, 0]),
        ('rational_polynomial', [0.1] * 8, False, [0.1] * 8),
        # a fisheye without coefficients is not a pinhole camera
        ('fisheye', [], True, [0] * 4),
        ('equidistant', [0.01, 0, 0, 0], True, [0.01, 0, 0, 0]),
    ],
)
def test_distortion(recording, model, coefficients, fisheye, kept):
    recording.calibration['cameras']['FRONT'].update(distortion_model=model, distortion=coefficients)
    camera = read(recording).cameras['FRONT']
    assert camera.fisheye == fisheye and camera.distortion.tolist() == kept


def test_a_camera_can_be_left_out(recording):
    recording.calibration['cameras']['BACK'] = None
    assert read(recording).cameras['BACK'] is None


BAD = [
    (('lidar', 'colums'), ['x'], r"lidar has an unknown key 'colums': the keys are columns"),
    (('lidar', 'columns'), ['x', 'y', 'z', 'z'], r'lidar.columns must be the names of all columns'),
    (('lidar', 'columns'), ['x', 'y', 'z', ''], r'lidar.columns must be the names of all columns'),
    (('lidar', 'columns'), ['x', 'y', 'i'], r'lidar.columns must be the names of all columns'),
    (('lidar', 'intensity'), 'remission', r"lidar.intensity='remission' is not among the columns x, y, z, intensity"),
    (('lidar', 'intensity_range'), [255, 0], r'lidar.intensity_range must be the smallest and the largest'),
    (('lidar', 'intensity_range'), None, r'lidar.intensity_range must be the smallest and the largest'),
    (('lidar', 'dtype'), 'float33', r'lidar.dtype must be a type of numbers'),
    (('lidar', 'dtype'), 'object', r'lidar.dtype must be a type of numbers'),
    (('lidar', 'dtype'), ['float32'], r'one for each of the 4 columns'),
    (('lidar', 'unit'), 'feet', r"lidar.unit='feet': choose m, cm, mm"),
    (('lidar', 'lidar2ego'), [[1, 2], [3, 4]], r'lidar.lidar2ego must be a 4x4 matrix'),
    (('lidar', 'unit'), ['m'], r"lidar.unit=\['m'\]: choose m, cm, mm"),
    (('cameras', 'FRONT', 'intrinsics'), np.eye(4).tolist(), r'cameras.FRONT.intrinsics must be a 3x3 matrix'),
    (('cameras', 'FRONT', 'intrinsics'), np.diag([0.9, 0.9, 1]).tolist(), r'a focal length of 0.9 pixels'),
    (('cameras', 'FRONT', 'intrinsics'), [[9e2, 0, 0], [0, 9e2, 0], [80, 45, 1]], r'intrinsics must be a 3x3'),
    (('cameras', 'FRONT', 'distortion_model'), 'brown', r"distortion_model='brown': choose plumb_bob, rational"),
    (('cameras', 'FRONT', 'distortion_model'), ['fisheye'], r"distortion_model=\['fisheye'\]: choose plumb_bob"),
    (('cameras', 'FRONT', 'distortion'), [0.1], r'plumb_bob: 0, 4, 5, 8, 12, 14 numbers'),
    (('cameras', 'FRONT', 'lidar2cam'), [[1]], r'cameras.FRONT.lidar2cam must be a 4x4 matrix'),
    (('cameras', 'FRONT'), {'intrinsics': 1}, r'cameras.FRONT has no lidar2cam: add it'),
    (('cameras',), ['FRONT'], r'cameras must be an object with an entry for each folder of images/'),
]


@pytest.mark.parametrize('place, value, message', BAD, ids=[f'{place[-1]}-{i}' for i, (place, *_) in enumerate(BAD)])
def test_a_wrong_value_is_one_line(recording, place, value, message):
    part = recording.calibration
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(DataError, match=f'calibration.json: .*{message}') as error:
        read(recording)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'is not a JSON file'),
        ('[' * 100_000, 'is not a JSON file'),
        ('[]', 'must be an object'),
        ('{"lidar": {}}', 'has no cameras: add it'),
    ],
)
def test_other_content(tmp_path, text, message):
    (tmp_path / 'calibration.json').write_text(text)
    with pytest.raises(DataError, match=f'calibration.json {message}'):
        read_calibration(tmp_path / 'calibration.json')
    (tmp_path / 'calibration.json').unlink()
    with pytest.raises(DataError, match=r'calibration.json is missing: docs/own_recording.md'):
        read_calibration(tmp_path / 'calibration.json')


def test_a_file_may_begin_with_the_mark_of_windows(recording):
    recording.write_calibration()
    path = recording.root / 'calibration.json'
    path.write_text(path.read_text(), 'utf-8-sig')
    assert set(read_calibration(path).cameras) == {'FRONT', 'BACK'}


def test_the_example_of_the_documentation_is_read(tmp_path):
    text = (Path(__file__).resolve().parents[2] / 'docs/own_recording.md').read_text()
    (tmp_path / 'calibration.json').write_text(re.search(r'```json\n(.+?)```', text, re.DOTALL)[1])
    found = read_calibration(tmp_path / 'calibration.json')
    assert found.points.columns[4] == 'ring' and len(found.cameras['CAM_FRONT'].distortion) == 5
