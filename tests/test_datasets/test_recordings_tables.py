"""`timestamps.csv` and `poses.csv`: interpolated poses, and one line for whatever is wrong in the tables."""

import numpy as np
import pytest
from peridot.datasets.recordings.tables import Poses, read_poses, read_timestamps
from peridot.errors import DataError
from scipy.spatial.transform import Rotation

TIMES = np.array([10.0, 10.1, 10.3, 12.0])
YAWS = np.array([0.0, 0.2, 0.2, 1.0])
PLACES = np.array([[0, 0, 0], [1, 2, 0], [3, 2, 1], [9, 9, 9.0]])
POSES = Poses(TIMES, PLACES, Rotation.from_euler('z', YAWS[:, None]))
HEADER, NAMED = 'time,x,y,z,qx,qy,qz,qw\n', 'name,x,y,z,qx,qy,qz,qw\n'


def test_poses_between_two_are_in_proportion():
    found = POSES.at(np.array([10.0, 10.05, 10.25, 12.0]))
    np.testing.assert_allclose(found[:, :3, 3], [[0, 0, 0], [0.5, 1, 0], [2.5, 2, 0.75], [9, 9, 9]], atol=1e-12)
    for matrix, yaw in zip(found, (0, 0.1, 0.2, 1.0)):
        turn = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        np.testing.assert_allclose(matrix[:3, :3], turn, atol=1e-12)


def test_poses_do_not_cover_what_is_outside_or_in_a_gap():
    times = np.array([9.99, 10.0, 10.2, 10.3, 11.0, 12.0, 12.01])
    assert POSES.cover(times).tolist() == [False, True, True, True, False, True, False]
    single = Poses(TIMES[:1], PLACES[:1], Rotation.from_euler('z', YAWS[:1, None]))
    assert single.cover(times).tolist() == [False, True, False, False, False, False, False]
    np.testing.assert_array_equal(single.at(np.array([10.0])), [np.eye(4)])


def test_poses_may_have_any_order_and_other_columns(tmp_path):
    rows = [
        f'0,0,{qw},9,{z},{y},{x},{time},{qz}'
        for (x, y, z), time, qz, qw in zip(PLACES, TIMES, np.sin(YAWS / 2), np.cos(YAWS / 2))
    ]
    (tmp_path / 'poses.csv').write_text('\n'.join(['qx,qy,qw,speed,z,y,x,time,qz', *rows[::-1]]))
    found = read_poses(tmp_path / 'poses.csv', {'a': 10.0})
    np.testing.assert_array_equal(found.times, TIMES)
    np.testing.assert_allclose(found.at(TIMES), POSES.at(TIMES), atol=1e-12)


def test_poses_by_name(tmp_path):
    (tmp_path / 'poses.csv').write_text('name,x,y,z,qx,qy,qz,qw\n007,1,2,3,0,0,0,1\n008,4,5,6,0,0,0,-1\n')
    found = read_poses(tmp_path / 'poses.csv', {})
    assert list(found) == ['007', '008'] and found['008'][:3, 3].tolist() == [4, 5, 6]
    np.testing.assert_array_equal(found['008'][:3, :3], np.eye(3))
    # by the scans' times they are poses by time, too
    timed = read_poses(tmp_path / 'poses.csv', {'007': 5.0, '008': 4.0})
    assert timed.times.tolist() == [4, 5] and timed.places[0].tolist() == [4, 5, 6]


def test_no_table(tmp_path):
    assert read_timestamps(tmp_path / 'timestamps.csv') == {} and read_poses(tmp_path / 'poses.csv', {}) is None


BAD_POSES = [
    (
        'time,x,y,z,roll,pitch,yaw\n1,0,0,0,0,0,0\n',
        r'has no column qx \(it has time, x, y, z, roll, pitch, yaw\): write',
    ),
    ('x,y,z,qx,qy,qz,qw\n0,0,0,0,0,0,1\n', 'has no column time or name'),
    (HEADER, 'has no column time or name'),
    ('', r'has no column x \(it has none\)'),
    (f'{HEADER}1,0,0,0,0,0,0,1\n2,0,0,zero,0,0,0,1\n', r", row 2: z='zero' is not a number"),
    (f'{HEADER}1,0,0,0,0,0,0\n', ', row 1: qw=None is not a number'),
    (f'{HEADER}1,0,0,0,0,0,90,1\n', r': the quaternion \(0, 0, 90, 1\) has length 90, not 1'),
    (f'{HEADER}1,0,0,0,0,0,0,1\n2,0,0,0,0,0,90,1\n', r', row 2: the quaternion \(0, 0, 90, 1\) has length 90, not 1'),
    (f'{HEADER}1,0,0,0,0,0,0,1\n1,0,0,0,0,0,0,1\n', 'has two poses of the time 1.0: remove one'),
    (
        f'{HEADER}1532402927647951000,0,0,0,0,0,0,1\n',
        'has the time 1532402927647951104, which seems to be in nanoseconds',
    ),
    (f'{NAMED}7,0,0,0,0,0,0,1\n', ': 7 is not a scan with a time'),
    (f'{NAMED}000,0,0,0,0,0,0,1\n000,1,0,0,0,0,0,1\n', ', rows 1 and 2: 000 stands twice: remove one'),
    (f'{NAMED},0,0,0,0,0,0,1\n', ', row 1 has no name: correct or remove the row'),
]


@pytest.mark.parametrize('text, message', BAD_POSES, ids=[message[:30] for _, message in BAD_POSES])
def test_wrong_poses_are_one_line(text, message, tmp_path):
    (tmp_path / 'poses.csv').write_text(text)
    with pytest.raises(
        DataError, match=f'poses.csv{message}' if message[0] in ',:' else f'poses.csv.*{message}'
    ) as error:
        read_poses(tmp_path / 'poses.csv', {'000': 1.0})
    assert '\n' not in str(error.value)


def test_a_name_that_stands_twice_among_poses_without_times(tmp_path):
    (tmp_path / 'poses.csv').write_text(f'{NAMED}7,0,0,0,0,0,0,1\n8,0,0,0,0,0,0,1\n7,1,0,0,0,0,0,1\n')
    with pytest.raises(DataError, match=r'poses.csv, rows 1 and 3: 7 stands twice: remove one'):
        read_poses(tmp_path / 'poses.csv', {})


def test_poses_by_time_need_times_of_the_scans(tmp_path):
    (tmp_path / 'poses.csv').write_text(f'{HEADER}1,0,0,0,0,0,0,1\n')
    with pytest.raises(
        DataError, match=r'poses.csv has poses by time, but the scans have no times: write timestamps.csv'
    ):
        read_poses(tmp_path / 'poses.csv', {})


BAD_TIMES = [
    ('name,time\na,1\n', r'has no column file \(it has name, time\): write file'),
    ('file,time\npoints/a.bin,now\n', "row 1: time='now' is not a number"),
    (
        'file,time\npoints/a.bin,5.5\npoints/b.bin,5.5\n',
        r'points/a.bin and points/b.bin have the same time 5.5: correct',
    ),
    (
        'file,time\npoints/a.bin,5.5\npoints/b.bin,5.6\npoints/a.bin,5.7\n',
        r', rows 1 and 3: points/a.bin stands twice: remove one',
    ),
    ('time,file\n5.5,points/a.bin\n5.6\n', ', row 2 has no file: correct or remove the row'),
    ('file,time\npoints/a.bin,1532402927647\n', 'which seems to be in milliseconds: write seconds'),
    ('file,time\npoints/a.bin,1532402927647951\n', 'which seems to be in microseconds: write seconds'),
]


@pytest.mark.parametrize('text, message', BAD_TIMES, ids=[message[:30] for _, message in BAD_TIMES])
def test_wrong_times_are_one_line(text, message, tmp_path):
    (tmp_path / 'timestamps.csv').write_text(text)
    with pytest.raises(DataError, match=f'timestamps.csv.*{message}'):
        read_timestamps(tmp_path / 'timestamps.csv')


def test_sensors_may_share_a_time(tmp_path):
    (tmp_path / 'timestamps.csv').write_text('file, time\npoints/a.bin, 5.5\nimages/FRONT/a.jpg, 5.5\n')
    assert read_timestamps(tmp_path / 'timestamps.csv') == {'points/a.bin': 5.5, 'images/FRONT/a.jpg': 5.5}


def test_tables_of_excel_begin_with_a_mark(tmp_path):
    (tmp_path / 'timestamps.csv').write_text('file,time\npoints/ä.bin,5.5\n', 'utf-8-sig')
    (tmp_path / 'poses.csv').write_text(f'{HEADER}5.5,1,2,3,0,0,0,1\n', 'utf-8-sig')
    assert read_timestamps(tmp_path / 'timestamps.csv') == {'points/ä.bin': 5.5}
    assert read_poses(tmp_path / 'poses.csv', {'ä': 5.5}).times.tolist() == [5.5]
