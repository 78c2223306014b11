"""Bags of both ROS versions as recordings: points, pixels and pairs of the folder they were written from; bad bags."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import KINDS, BagFile, recording_messages
from mmengine.registry import DefaultScope
from peridot.datasets.create_infos_folder import create_folder_infos
from peridot.datasets.rosbag.bag import CAMERA_INFO, COMPRESSED, IMAGE, POINTS, Bag, Topic
from peridot.datasets.rosbag.import_rosbag import import_rosbag
from peridot.datasets.rosbag.sources import choose
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS
from scipy.spatial.transform import Rotation
from tiny_recording import FOCAL, HEIGHT, WIDTH, cloud, lidar2cam

START = 1_700_000_000_000_000_000
TENTH = 100_000_000
INTRINSICS = [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]
ROW = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('reflectivity', 'u1'), ('ring', '<u2')])


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def samples(root: Path) -> list[dict]:
    pipeline = [
        dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
        dict(type='peridot.LoadImageViews'),
        dict(type='peridot.ProjectPoints'),
    ]
    common = dict(type='peridot.PairedDataset', data_root=str(root), dataset='folder', serialize_data=False)
    parts = [DATASETS.build(dict(common, ann_file=path.name, pipeline=pipeline)) for path in root.glob('*.pkl')]
    return sorted((sample for part in parts for sample in part), key=lambda sample: sample['token'])


@pytest.mark.parametrize('kind', KINDS)
def test_streets_come_back_from_bags(folder_root, kind, tmp_path):
    """By the topics' names alone; pairs include the motion between scan and images, by the odometry."""
    drive = tmp_path / 'own' / 'scene-0061'
    shutil.copytree(folder_root / 'scene-0061', drive, ignore=shutil.ignore_patterns('converted', 'labels'))
    bag = BagFile(kind)
    path = bag.write(tmp_path / 'drive', recording_messages(bag, drive))
    out = import_rosbag([path], tmp_path / 'out', poses='/odometry')
    create_folder_infos(drive)
    create_folder_infos(out)
    own, found = samples(drive), samples(out)
    assert len(own) == len(found) == 2
    for mine, other in zip(own, found):
        np.testing.assert_array_equal(mine['points'].tensor, other['points'].tensor)
        assert mine['cameras'] == other['cameras'] and len(mine['cameras']) == 6
        for first, second in zip(mine['img_paths'], other['img_paths']):
            assert Path(first).read_bytes() == Path(second).read_bytes()
        pairs, twins = mine['pairs'], other['pairs']
        assert len(pairs) == len(twins) > 5000
        np.testing.assert_array_equal(pairs.point, twins.point)
        np.testing.assert_array_equal(pairs.camera, twins.camera)
        np.testing.assert_allclose(pairs.position, twins.position, atol=0.01)


class TinyBag:
    """Messages of a lidar and a camera, which a test may change before they are written."""

    def __init__(self, kind: str = 'ros1') -> None:
        self.bag = BagFile(kind)
        self.rng = np.random.default_rng(0)
        self.tables = [self.table() for _ in range(4)]
        self.images = [self.rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(4)]
        self.static = [('base', 'lidar', np.eye(4)), ('base', 'front', np.linalg.inv(lidar2cam(0)))]
        self.lidar_frames = ['lidar'] * 4
        self.lag = 10_000_000
        self.make_image = lambda number, stamp: self.bag.image(stamp, 'front', self.images[number], 'rgb8')
        self.info = dict(size=(HEIGHT, WIDTH), matrix=INTRINSICS)
        self.extra: list = []

    def table(self) -> np.ndarray:
        points = cloud(self.rng, 400)
        table = np.zeros(len(points), ROW)
        for column, name in enumerate(('x', 'y', 'z', 'reflectivity')):
            table[name] = points[:, column]
        return table

    def messages(self):
        if self.static:
            yield '/tf_static', START, self.bag.transforms(START, self.static)
        yield '/front/camera_info', START, self.bag.camera_info(START, 'front', **self.info)
        for number, table in enumerate(self.tables):
            stamp = START + TENTH * number
            yield '/points', stamp, self.bag.points(stamp, self.lidar_frames[number], table)
            yield '/front/image_raw', stamp, self.make_image(number, stamp + self.lag)
        yield from self.extra

    def write(self, folder: Path) -> Path:
        return self.bag.write(folder / 'tiny', self.messages())


def run(tiny: TinyBag, folder: Path, **options) -> Path:
    return import_rosbag([tiny.write(folder)], folder / 'out', **options)


@pytest.mark.parametrize('kind', KINDS)
def test_raw_messages_of_every_kind(kind, tmp_path):
    tiny = TinyBag(kind)
    # beams without return, in an organized cloud with types of their own
    tiny.tables[1]['x'][[5, 7]] = np.nan
    tiny.tables = [table.reshape(4, 100) for table in tiny.tables]
    out = run(tiny, tmp_path)
    scans, images = sorted((out / 'points').iterdir()), sorted((out / 'images/front').iterdir())
    assert [path.name for path in scans] == [f'{START + TENTH * number}.bin' for number in range(4)]
    for table, path in zip(tiny.tables, scans):
        valid = table.ravel()[np.isfinite(table.ravel()['x'])]
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        for column, name in enumerate(('x', 'y', 'z', 'reflectivity')):
            np.testing.assert_array_equal(points[:, column], valid[name])
    for pixels, path in zip(tiny.images, images):
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], pixels)
    content = json.loads((out / 'calibration.json').read_text())
    assert content['lidar']['intensity_range'] == [0, 255] and content['lidar']['frame_id'] == 'lidar'
    np.testing.assert_allclose(content['cameras']['front']['lidar2cam'], lidar2cam(0), atol=1e-12)
    assert content['cameras']['front']['intrinsics'] == INTRINSICS
    lines = (out / 'timestamps.csv').read_text().splitlines()
    assert len(lines) == 9 and f'points/{START}.bin,{START / 1e9!r}' in lines
    assert len(create_folder_infos(out)) == 2


ENCODINGS = {
    'bgr8': lambda image: image[..., ::-1],
    'rgba8': lambda image: np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
    'mono8': lambda image: image[..., :1],
}


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_encodings_and_padded_rows(encoding, tmp_path):
    tiny = TinyBag()
    change = ENCODINGS[encoding]
    tiny.make_image = lambda n, stamp: tiny.bag.image(stamp, 'front', change(tiny.images[n]), encoding, padding=7)
    out = run(tiny, tmp_path)
    for pixels, path in zip(tiny.images, sorted((out / 'images/front').iterdir())):
        expected = np.repeat(pixels[..., :1], 3, 2) if encoding == 'mono8' else pixels
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], expected)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_show_the_right_colors(pattern, tmp_path):
    """A surface of one color, as each sensor would measure it."""
    tiny, color = TinyBag(), dict(r=200, g=120, b=40)
    mosaic = np.tile(np.array([color[name] for name in pattern], np.uint8).reshape(2, 2), (HEIGHT // 2, WIDTH // 2))
    tiny.make_image = lambda number, stamp: tiny.bag.image(stamp, 'front', mosaic[..., None], f'bayer_{pattern}8')
    out = run(tiny, tmp_path)
    found = cv2.imread(str(next((out / 'images/front').iterdir())))[10:-10, 10:-10]
    np.testing.assert_array_equal(np.unique(found.reshape(-1, 3), axis=0), [[40, 120, 200]])


def test_only_the_images_nearest_to_scans_are_kept(tmp_path):
    tiny = TinyBag()
    tiny.lag = 11_000_000
    for number in range(12):
        stamp = START + 37_000_000 * number + 5_000_000
        tiny.extra.append(('/front/image_raw', stamp, tiny.bag.image(stamp, 'front', tiny.images[0], 'rgb8')))
    out = run(tiny, tmp_path)
    stamps = [START + TENTH * n + tiny.lag for n in range(4)] + [START + 37_000_000 * n + 5_000_000 for n in range(12)]
    nearest = {min(stamps, key=lambda stamp: abs(stamp - START - TENTH * n)) for n in range(4)}
    assert {int(path.stem) for path in (out / 'images/front').iterdir()} == nearest


def test_an_interrupted_import_goes_on(tmp_path, monkeypatch):
    from peridot.datasets.rosbag import import_rosbag as module

    tiny = TinyBag()
    path = tiny.write(tmp_path)
    expected = import_rosbag([path], tmp_path / 'whole')
    convert, calls = module.points_of, []

    def stop(message, topic):
        calls.append(topic)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return convert(message, topic)

    monkeypatch.setattr(module, 'points_of', stop)
    with pytest.raises(KeyboardInterrupt):
        import_rosbag([path], tmp_path / 'out')
    assert not (tmp_path / 'out/calibration.json').exists() and len(list((tmp_path / 'out/points').iterdir())) == 2
    import_rosbag([path], tmp_path / 'out')
    assert len(calls) == 3 + 2
    for file in expected.rglob('*'):
        other = tmp_path / 'out' / file.relative_to(expected)
        assert file.is_dir() or other.read_bytes() == file.read_bytes()


def test_a_calibration_that_exists_stays(tmp_path):
    tiny = TinyBag()
    tiny.static = []
    (tmp_path / 'out').mkdir()
    text = '{"lidar": {"frame_id": "lidar"}, "cameras": {}}'
    (tmp_path / 'out/calibration.json').write_text(text)
    out = run(tiny, tmp_path)
    assert (out / 'calibration.json').read_text() == text and len(list((out / 'points').iterdir())) == 4
    for wrong, message in (
        (text.replace('"lidar"}', '"velodyne"}'), r'points in the frame velodyne .* are in lidar: name the topic'),
        ('[]', 'calibration.json has no object lidar: correct or remove it'),
        ('{"lidar": null}', 'calibration.json has no object lidar: correct or remove it'),
    ):
        (tmp_path / 'out/calibration.json').write_text(wrong)
        with pytest.raises(DataError, match=message):
            import_rosbag([tmp_path / 'tiny.bag'], tmp_path / 'out')


def test_with_a_calibration_images_may_have_another_size_than_in_their_camera_info(tmp_path):
    tiny = TinyBag()
    tiny.info['size'] = (2 * HEIGHT, 2 * WIDTH)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/calibration.json').write_text('{"lidar": {}, "cameras": {}}')
    assert len(list((run(tiny, tmp_path) / 'images/front').iterdir())) == 4


@pytest.mark.parametrize('model, lens', [('rational_polynomial', [0.1] * 8), ('equidistant', [0.1] * 4)])
def test_models_of_distortion(model, lens, tmp_path):
    tiny = TinyBag()
    tiny.info.update(model=model, lens=lens)
    camera = json.loads((run(tiny, tmp_path) / 'calibration.json').read_text())['cameras']['front']
    assert camera['distortion_model'] == model and camera['distortion'] == lens


def test_rectified_images_have_the_geometry_of_p_and_r(tmp_path, lines):
    """The pixel of a point x is P (R x, 1); K is about the raw images. P is that of a second camera, 0.5 m aside."""
    tiny = TinyBag()
    turn = Rotation.from_euler('y', 5, degrees=True).as_matrix()
    projection = np.array([[90.0, 0, 70, -45], [0, 90, 50, 0], [0, 0, 1, 0]])
    tiny.info.update(model='plumb_bob', lens=[0.1] * 5, turn=turn, projection=projection)
    stamp = START + 3_000_000
    tiny.extra = [('/front/image_rect', stamp, tiny.bag.image(stamp, 'front', tiny.images[0], 'rgb8'))]
    out = import_rosbag([tiny.write(tmp_path)], tmp_path / 'out', cameras={'front': '/front/image_rect'})
    camera = json.loads((out / 'calibration.json').read_text())['cameras']['front']
    assert 'distortion' not in camera and len(list((out / 'images/front').iterdir())) == 1
    points = np.c_[tiny.rng.uniform([5, -3, -1], [20, 3, 1], (9, 3)), np.ones(9)].T
    expected = projection @ np.vstack([turn @ (lidar2cam(0) @ points)[:3], np.ones(9)])
    found = np.array(camera['intrinsics']) @ (np.array(camera['lidar2cam']) @ points)[:3]
    np.testing.assert_allclose(found / found[2], expected / expected[2], atol=1e-9)
    (line,) = lines
    assert 'second camera of a stereo pair' in line and 'P moves points by -0.500, 0.000, 0.000 m' in line


def test_clouds_with_padding_and_other_numbers(tmp_path):
    """Big-endian doubles with gaps between the fields and behind the rows, and two fields that could be intensities."""
    row = np.dtype(
        dict(
            names=['y', 'x', 'z', 'reflectivity', 'intensity'],
            formats=['>f8', '>f8', '>f4', '>u2', '>f4'],
            offsets=[4, 12, 24, 28, 32],
            itemsize=40,
        )
    )
    tiny = TinyBag()
    tables = []
    for table in tiny.tables:
        other = np.zeros((4, 100), row)
        for name in ('x', 'y', 'z'):
            other[name] = table[name].reshape(4, 100)
        other['intensity'], other['reflectivity'] = table['reflectivity'].reshape(4, 100) / 2, 7
        tables.append(other)
    make = tiny.bag.points
    tiny.bag.points = lambda stamp, frame, table: make(stamp, frame, table, padding=12)
    tiny.tables = tables
    out = run(tiny, tmp_path)
    for table, path in zip(tables, sorted((out / 'points').iterdir())):
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        for column, name in enumerate(('x', 'y', 'z', 'intensity')):
            np.testing.assert_array_equal(points[:, column], table[name].ravel().astype(np.float32))


def test_beams_and_scans_without_return_are_left_out(tmp_path):
    tiny = TinyBag()
    for name in ('x', 'y', 'z'):
        tiny.tables[1][name][:30] = 0
        tiny.tables[2][name] = 0
    out = run(tiny, tmp_path)
    sizes = {int(path.stem): path.stat().st_size // 16 for path in (out / 'points').iterdir()}
    assert sizes == {START: 400, START + TENTH: 370, START + 3 * TENTH: 400}
    assert len((out / 'timestamps.csv').read_text().splitlines()) == 1 + 3 + 4


def test_points_without_intensity(tmp_path):
    tiny = TinyBag()
    names = ['x', 'y', 'z', 'ring']
    tiny.tables = [np.array(table[names].tolist(), [(name, ROW[name]) for name in names]) for table in tiny.tables]
    out = run(tiny, tmp_path)
    lidar = json.loads((out / 'calibration.json').read_text())['lidar']
    assert lidar['intensity'] is None and 'intensity_range' not in lidar
    assert len(create_folder_infos(out)) == 2


def test_of_messages_with_one_stamp_the_first_is_kept(tmp_path, lines):
    tiny = TinyBag()
    again = tiny.tables[0].copy()
    again['x'] += 1
    tiny.extra = [
        ('/points', START, tiny.bag.points(START, 'lidar', again)),
        ('/front/image_raw', START, tiny.make_image(1, START + tiny.lag)),
    ]
    out = run(tiny, tmp_path)
    points = np.fromfile(out / f'points/{START}.bin', np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(points[:, 0], tiny.tables[0]['x'])
    image = cv2.imread(str(out / f'images/front/{START + tiny.lag}.png'))
    np.testing.assert_array_equal(image[..., ::-1], tiny.images[0])
    assert len(lines) == 2 and '1 messages of /points repeat a time stamp' in lines[0]


def test_files_of_an_import_with_other_settings_are_not_mixed(tmp_path):
    tiny = TinyBag()
    tiny.extra = [('/filtered', START, tiny.bag.points(START, 'lidar', tiny.tables[0][:50]))]
    path = tiny.write(tmp_path)
    out = import_rosbag([path], tmp_path / 'out', lidar='/points')
    for change, message in (
        (dict(lidar='/filtered'), "lidar='/points' instead of '/filtered'"),
        (dict(lidar='/points', tolerance=0.02), 'tolerance=0.05 instead of 0.02'),
        (dict(lidar='/points', cameras={'left': '/front/image_raw'}), "cameras={'front': '/front/image_raw'} instead"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message) + '.*remove the folder, or give another --out'):
            import_rosbag([path], out, **change)
    assert import_rosbag([path], out, lidar='/points') == out


def test_poses_need_the_transform_to_their_frame(tmp_path):
    """Also where a calibration without it is kept, be it one of an import without poses."""
    tiny = TinyBag()
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    tiny.static[0] = ('base', 'lidar', turned)
    for number in range(5):
        stamp = START + TENTH * number
        tiny.extra.append(('/odometry', stamp, tiny.bag.odometry(stamp, 'odom', 'base', np.eye(4))))
    path = tiny.write(tmp_path)
    out = import_rosbag([path], tmp_path / 'out')
    with pytest.raises(DataError, match=r'calibration\.json has no lidar\.lidar2ego, the transform from lidar to base'):
        import_rosbag([path], out, poses='/odometry')
    (out / 'calibration.json').unlink()
    import_rosbag([path], out, poses='/odometry')
    lidar = json.loads((out / 'calibration.json').read_text())['lidar']
    np.testing.assert_allclose(lidar['lidar2ego'], turned, atol=1e-12)
    assert (out / 'poses.csv').is_file()


def topics(**kinds) -> dict[str, Topic]:
    return {name: Topic(name, kind, 1) for name, kind in {'/points': POINTS, **kinds}.items()}


def test_cameras_are_found_by_the_names_of_topics():
    info, image = CAMERA_INFO, IMAGE
    names = {
        '/camera_info': info,
        '/cam/camera_info': info,
        '/cam/image_raw': image,
        '/cam/image_raw/compressed': COMPRESSED,
        '/cam/image_raw/compressedDepth': COMPRESSED,
        '/rig/rear/camera_info': info,
        '/rig/rear/image_rect': image,
        '/depth/camera_info': info,
        '/depth/image_raw': image,
        '/left/preview': image,
    }
    found = choose(topics(**names), None, None, None, 'bag')
    assert found.cameras == {'cam': '/cam/image_raw/compressed', 'rig_rear': '/rig/rear/image_rect'}
    assert found.infos == {'cam': '/cam/camera_info', 'rig_rear': '/rig/rear/camera_info'}
    assert choose(topics(**names), None, {'left': '/left/preview'}, None, 'bag').infos == {}
    with pytest.raises(ConfigError, match=r'several topics of images of cam \(/cam/image_raw, /cam/image_mono\)'):
        choose(topics(**names, **{'/cam/image_mono': image}), None, None, None, 'bag')
    for cameras, message in (
        ({'a': '/cam/image_raw', 'b': '/cam/image_raw'}, 'names /cam/image_raw twice, a and b'),
        ({'a/b': '/cam/image_raw'}, 'the name of a camera is that of its folder'),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(topics(**names), None, cameras, None, 'bag')


@pytest.mark.parametrize('topic', ['/tf', '/pose'])
def test_poses_of_tf_and_of_pose_messages(topic, tmp_path):
    tiny = TinyBag('mcap')
    for number in range(5):
        stamp, matrix = START + TENTH * number, np.eye(4)
        matrix[0, 3] = number
        if topic == '/tf':
            message = tiny.bag.transforms(stamp, [('odom', 'wheel', np.eye(4)), ('odom', 'base', matrix)])
        else:
            header = tiny.bag.header(stamp, 'odom')
            message = tiny.bag.make('geometry_msgs/msg/PoseStamped', header=header, pose=tiny.bag.pose(matrix))
        tiny.extra.append((topic, stamp, message))
    out = run(tiny, tmp_path, poses=topic, ego_frame='base')
    lines = (out / 'poses.csv').read_text().splitlines()
    assert lines[0] == 'time,x,y,z,qx,qy,qz,qw' and len(lines) == 6
    assert lines[3] == f'{(START + 2 * TENTH) / 1e9!r},2.0,0.0,0.0,0.0,0.0,0.0,1.0'
    assert 'lidar2ego' in json.loads((out / 'calibration.json').read_text())['lidar']


def compressed(form: str, code):
    def change(tiny: TinyBag) -> None:
        tiny.make_image = lambda n, stamp: tiny.bag.compressed(stamp, 'front', code(tiny.images[n]), form)

    return change


def without_static(tiny: TinyBag) -> None:
    tiny.static = []


def other_frame(tiny: TinyBag) -> None:
    tiny.lidar_frames[2] = 'map'


def points_in_the_map(tiny: TinyBag) -> None:
    tiny.lidar_frames = ['map'] * 4


def lagging(tiny: TinyBag) -> None:
    tiny.lag = 5_000_000_000


def unknown_encoding(tiny: TinyBag) -> None:
    tiny.make_image = lambda n, stamp: tiny.bag.image(stamp, 'front', tiny.images[n], 'yuv420')


def damaged_jpeg(tiny: TinyBag) -> None:
    tiny.make_image = lambda n, stamp: tiny.bag.compressed(stamp, 'front', b'\xff\xd8\xff junk', 'jpeg')


def uncalibrated(tiny: TinyBag) -> None:
    tiny.info['matrix'] = np.zeros((3, 3))


def other_model(tiny: TinyBag) -> None:
    tiny.info.update(model='thin_prism', lens=[0.1] * 4)


def other_size(tiny: TinyBag) -> None:
    tiny.info['size'] = (2 * HEIGHT, 2 * WIDTH)


def one_stamp(tiny: TinyBag) -> None:
    tiny.extra = [('/points', START, tiny.bag.points(START, 'lidar', tiny.tables[0])) for _ in range(8)]


def long_fields(tiny: TinyBag) -> None:
    make = tiny.bag.points

    def points(*arguments):
        message = make(*arguments)
        message.point_step -= 8
        return message

    tiny.bag.points = points


def empty_quaternion(tiny: TinyBag) -> None:
    make = tiny.bag.pose

    def pose(matrix):
        message = make(matrix)
        if matrix[0, 3]:
            message.orientation.w = message.orientation.x = message.orientation.y = message.orientation.z = 0.0
        return message

    tiny.bag.pose = pose
    tiny.static[1] = ('base', 'front', np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))


def wheels_alone(tiny: TinyBag) -> None:
    tiny.extra = [('/tf', START, tiny.bag.transforms(START, [('odom', 'wheel', np.eye(4))]))]


def without_projection(tiny: TinyBag) -> None:
    tiny.info.update(projection=np.zeros((3, 4)))
    tiny.extra = [('/front/image_rect', START, tiny.bag.image(START, 'front', tiny.images[0], 'rgb8'))]


def without_z(tiny: TinyBag) -> None:
    names = ['x', 'y', 'ring']
    tiny.tables = [np.array(table[names].tolist(), [(name, ROW[name]) for name in names]) for table in tiny.tables]


def two_lidars(tiny: TinyBag) -> None:
    tiny.extra = [('/rear', START, tiny.bag.points(START, 'rear', tiny.tables[0]))]


BAD = [
    (
        without_static,
        {},
        DataError,
        r'no static transform from lidar to front \(its frames are none: it has no tf_static\)',
    ),
    (points_in_the_map, {}, DataError, r'no static transform from map to front \(its frames are base, front, lidar\)'),
    (other_frame, {}, DataError, '/points changes its frame from lidar to map'),
    (one_stamp, {}, DataError, '/points has 12 messages, but only 4 different time stamps: let the driver stamp'),
    (long_fields, {}, DataError, '/points has fields that do not fit into its point_step'),
    (empty_quaternion, {}, DataError, r'no static transform from lidar to front \(its frames are base, lidar\)'),
    (wheels_alone, {'poses': '/tf'}, DataError, r'/tf has no pose of the frame base_link \(its frames are wheel\)'),
    (
        without_projection,
        {'cameras': {'front': '/front/image_rect'}},
        DataError,
        '/front/camera_info has no projection matrix P',
    ),
    (lagging, {}, DataError, r'no image of front lies within 0.05 s of a scan \(the nearest is 4.700 s away\)'),
    (
        compressed('h264', lambda image: b'\0\0\0\1 h264'),
        {},
        DataError,
        r"images of an unknown codec \('h264'\): only JPEG",
    ),
    (unknown_encoding, {}, DataError, "images of the encoding 'yuv420': those that can be stored are bgr8"),
    (damaged_jpeg, {}, DataError, '/front/image_raw has an image that is damaged'),
    (uncalibrated, {}, DataError, r'/front/camera_info is not calibrated \(focal length 0\)'),
    (other_model, {}, DataError, "distortion model 'thin_prism': those that can be undistorted are"),
    (other_size, {}, DataError, 'has images of 160x90, but its CameraInfo is about 320x180'),
    (without_z, {}, DataError, r'/points has no field z \(it has x, y, ring\)'),
    (two_lidars, {}, ConfigError, r'has 2 topics of points \(/points, /rear\): name one with --lidar'),
    (None, {'lidar': '/lidar'}, ConfigError, 'has no topic /lidar: --lidar wants a topic of PointCloud2, --list'),
    (
        None,
        {'lidar': '/front/image_raw'},
        ConfigError,
        r'/front/image_raw holds sensor_msgs/msg/Image, but --lidar wants',
    ),
    (
        None,
        {'cameras': {'a': '/points'}},
        ConfigError,
        'PointCloud2, but --cameras wants a topic of Image or CompressedImage',
    ),
    (None, {'poses': '/points'}, ConfigError, 'but --poses wants a topic of Odometry or PoseStamped or TFMessage'),
    (
        None,
        {'cameras': {}},
        ConfigError,
        'no images with a camera_info beside them: name topics with --cameras NAME=TOPIC',
    ),
]


@pytest.mark.parametrize('change, options, kind, message', BAD, ids=[message[:30] for *_, message in BAD])
def test_a_bad_bag_is_one_line(change, options, kind, message, tmp_path):
    tiny = TinyBag()
    if change:
        change(tiny)
    with pytest.raises(kind, match=message) as error:
        run(tiny, tmp_path, **options)
    assert '\n' not in str(error.value) and not (tmp_path / 'out/calibration.json').exists()


@pytest.mark.parametrize('kind', KINDS)
def test_a_bag_that_is_cut_off_is_one_line(kind, tmp_path):
    path = TinyBag(kind).write(tmp_path)
    file = path if kind == 'ros1' else next(path for path in path.iterdir() if path.suffix != '.yaml')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        DataError, match=r'tiny\S* cannot be read to its end .*: record it again, or repair it'
    ) as error:
        import_rosbag([path], tmp_path / 'out')
    assert '\n' not in str(error.value)


def test_bags_of_ros_2_without_definitions_of_messages_are_read(tmp_path):
    """As they were before Iron."""
    path = TinyBag('sqlite3').write(tmp_path)
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute('DELETE FROM message_definitions')
    metadata = (path / 'metadata.yaml').read_text()
    assert 'RIHS01_' in metadata
    (path / 'metadata.yaml').write_text(re.sub(r'(type_description_hash:)\s+RIHS01_\S+', r"\1 ''", metadata))
    out = import_rosbag([path], tmp_path / 'out')
    assert len(list((out / 'points').iterdir())) == 4


def test_what_is_no_bag(tmp_path):
    (tmp_path / 'folder').mkdir()
    for path in (tmp_path / 'absent.bag', tmp_path / 'folder'):
        with pytest.raises(
            DataError, match=r'is not a bag .*: name a .bag, .db3 or .mcap file, or a folder with metadata.yaml'
        ):
            Bag([path])


def test_a_single_file_of_ros_2_is_a_bag(tmp_path):
    path = TinyBag('mcap').write(tmp_path)
    (file,) = path.glob('*.mcap')
    with Bag([file.rename(tmp_path / 'alone.mcap')]) as bag:
        assert '/points' in bag.topics


def test_tool_lists_topics_and_imports(tmp_path, run_tool, capsys):
    path = TinyBag().write(tmp_path)
    run_tool('import_rosbag', path, '--list')
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['4', 'sensor_msgs/msg/PointCloud2', '/points'] in lines and len(lines) == 4
    with pytest.raises(SystemExit):
        run_tool('import_rosbag', path)
    run_tool('import_rosbag', path, '--out', tmp_path / 'out', '--cameras', 'left=/front/image_raw')
    assert f'next, python tools/create_data.py folder --root {tmp_path}/out' in capsys.readouterr().out
    assert (tmp_path / 'out/images/left').is_dir()
