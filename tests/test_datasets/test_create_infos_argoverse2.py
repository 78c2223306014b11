"""Argoverse 2: the synthetic streets in its layout, converted and geometrically right."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from peridot.catalog import CATALOG
from peridot.datasets.create_infos_argoverse2 import Poses, create_argoverse2_infos
from peridot.datasets.sampler import SampleKey
from peridot.errors import DataError
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.registry import DATASETS
from pyarrow import feather
from scipy.spatial.transform import Rotation
from streets.argoverse2 import log_folder, scan
from streets.camera import take_photo
from streets.dataset import read_settings
from streets.frame import caster, image_view, keyframe_time
from streets.lidar import take_sweep
from streets.rig import make_argoverse2_lidars
from streets.taxonomy import INDEX

REPO = Path(__file__).resolve().parents[2]
CAMERAS = list(CATALOG['argoverse2'].cameras)
AXLE = 0.33
# mmengine's serialization collects garbage, which takes longer than these tests
FAST = dict(serialize_data=False)
READ = [dict(type='peridot.LoadPoints', load_dim=4)]
PROJECT = [*READ, dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def paired(root: Path, pipeline: list, split: str = 'train', **options):
    infos = f'argoverse2_infos_{split}.pkl'
    common = dict(type='peridot.PairedDataset', data_root=str(root), ann_file=infos, dataset='argoverse2')
    return DATASETS.build({**common, 'pipeline': pipeline, **FAST, **options})


def snapshot(root: Path, scene: int, frame: int):
    settings = read_settings(root)
    return caster(settings.seed, scene).at(keyframe_time(settings, scene, frame))


def vehicle(moment) -> np.ndarray:
    """Pose (4, 4) of the rear axle in the world."""
    pose = np.eye(4)
    place, pose[:3, :3] = moment.world.ego_pose(moment.time)
    pose[:3, 3] = place + AXLE * pose[:3, 2]
    return pose


def test_splits_are_the_folders(argoverse2_root):
    for split, scene in (('train', 0), ('val', 1)):
        dataset, log = paired(argoverse2_root, [], split), log_folder(argoverse2_root, scene)
        times = sorted(path.stem for path in (log / 'sensors/lidar').iterdir())
        assert [sample['token'] for sample in dataset] == [f'{log.name}/{time}' for time in times]
        assert all(sample['cameras'] == CAMERAS for sample in dataset) and len(dataset) == 2
    assert not list(argoverse2_root.rglob('*.part'))


def test_clouds_are_in_the_vehicles_frame(argoverse2_root):
    """Points of the files, and those of the renderer in half precision."""
    points = paired(argoverse2_root, READ)[1]['points'].tensor.numpy()
    path = sorted(log_folder(argoverse2_root, 0).glob('sensors/lidar/*'))[1]
    columns = feather.read_table(path).to_pydict()
    np.testing.assert_array_equal(points.T, [columns[name] for name in ('x', 'y', 'z', 'intensity')])
    moment = snapshot(argoverse2_root, 0, 1)
    world, category = [], []
    for number, lidar in enumerate(make_argoverse2_lidars().values()):
        sweep = take_sweep(moment, np.random.default_rng([0, 0, 1, 31, number]), lidar)
        place, turn = lidar.world_pose(moment.world.ego_pose(moment.time))
        world.append(sweep.points[:, :3].astype(np.float64) @ turn.T + place)
        category.append(sweep.category)
    to_vehicle = np.linalg.inv(vehicle(moment))
    true = np.concatenate(world) @ to_vehicle[:3, :3].T + to_vehicle[:3, 3]
    np.testing.assert_allclose(points[:, :3], true, rtol=2**-11, atol=1e-4)
    road = points[np.concatenate(category) == INDEX['flat.driveable_surface']]
    assert abs(np.median(road[np.hypot(*road[:, :2].T) < 15, 2]) + AXLE) < 0.1


def test_lidar2cam_holds_the_motion_between_sweep_and_image(argoverse2_root):
    settings = read_settings(argoverse2_root)
    for scene, split in enumerate(('train', 'val')):
        for frame, sample in enumerate(paired(argoverse2_root, [], split)):
            ego = vehicle(snapshot(argoverse2_root, scene, frame))
            for name, path, lidar2cam, cam2img in zip(
                CAMERAS, sample['img_paths'], sample['lidar2cam'], sample['cam2img']
            ):
                camera, shutter = image_view(settings, path)
                assert camera.name == name
                pose = np.eye(4)
                pose[:3, 3], pose[:3, :3] = camera.world_pose(shutter.world.ego_pose(shutter.time))
                np.testing.assert_allclose(lidar2cam, np.linalg.inv(pose) @ ego, atol=1e-9)
                np.testing.assert_allclose(cam2img[:3, :3], camera.intrinsic)


def test_points_fall_on_the_pixels_of_their_class(argoverse2_root):
    """Exact positions, and what the renderer shows there; in the upright front camera and one that looks back."""
    settings = read_settings(argoverse2_root)
    sample = paired(argoverse2_root, PROJECT, 'val', cameras=['ring_front_center', 'ring_rear_left'])[1]
    moment = snapshot(argoverse2_root, 1, 1)
    _, category = scan(moment, [0, 1, 1, 31])
    ego, points = vehicle(moment), sample['points'].tensor.numpy()[:, :3].astype(np.float64)
    world, pairs = points @ ego[:3, :3].T + ego[:3, 3], sample['pairs']
    for number, path in enumerate(sample['img_paths']):
        camera, shutter = image_view(settings, path)
        place, turn = camera.world_pose(shutter.world.ego_pose(shutter.time))
        mine = pairs.camera == number
        pixel = (world[pairs.point[mine]] - place) @ turn @ camera.intrinsic.T
        position = pairs.position[mine].numpy()
        np.testing.assert_allclose(position, (pixel[:, :2] / pixel[:, 2:])[:, ::-1], atol=0.01)
        row, column = np.rint(position).astype(int).T
        seen = take_photo(shutter, camera).category[row, column]
        own = category[pairs.point[mine].numpy()]
        assert len(own) > 1000 and (seen == own).mean() > 0.8
        assert (seen == np.roll(own, len(own) // 2)).mean() < 0.6
    assert sample['views'].file_size.tolist() == [[144, 108], [108, 144]]


def test_frames_of_a_log_are_linked(argoverse2_root):
    pipeline = [*READ, dict(type='peridot.PackPaired')]
    first = paired(argoverse2_root, pipeline, cameras=[], frames=dict(keyframes=(1,)))[0]
    frames = first['inputs']['frames']
    ego = [vehicle(snapshot(argoverse2_root, 0, frame)) for frame in (0, 1)]
    np.testing.assert_allclose(frames.between([1], [0])[0], np.linalg.inv(ego[0]) @ ego[1], atol=1e-6)
    assert frames.time[1] == pytest.approx(0.5, abs=0.01)


def write_poses(path: Path, times, rows) -> None:
    names = ('qx', 'qy', 'qz', 'qw', 'tx_m', 'ty_m', 'tz_m')
    feather.write_feather(pa.table({'timestamp_ns': times, **dict(zip(names, np.transpose(rows)))}), str(path))


def test_poses_are_interpolated_between_near_ones(tmp_path):
    """Of a vehicle on a steady curve, against the curve itself; rows in any order, one a nanosecond after another."""
    start = 1_532_402_927_000_803_001

    def row(seconds: float) -> list[float]:
        turn = Rotation.from_rotvec([0.01, 0.02, 0.3 * seconds + 3])
        return [*turn.as_quat(), 1e4 + 8 * seconds, 5 - 2 * seconds, 0.1 * seconds]

    def pose(seconds: float) -> np.ndarray:
        *turn, x, y, z = row(seconds)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat(turn).as_matrix(), (x, y, z)
        return matrix

    seconds = np.array([0, 0.1, 0.1, 0.2, 0.9, 1.0])
    times = start + (seconds * 1e9).astype(np.int64) + [0, 0, 1, 0, 0, 0]
    write_poses(tmp_path / 'poses.feather', times[::-1], [row(s) for s in seconds[::-1]])
    asked = np.array([0, 0.03, 0.1, 0.15, 0.2, 0.9, 0.97, 1.0, -0.001, 0.5, 1.001])
    found, known = Poses(tmp_path / 'poses.feather').at(start + np.rint(asked * 1e9).astype(np.int64))
    assert known.tolist() == [True] * 8 + [False] * 3
    np.testing.assert_allclose(found[:8], [pose(s) for s in asked[:8]], atol=1e-5)


def infos(path: Path) -> list[dict]:
    return pickle.loads(path.read_bytes())['data_list']


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_an_interrupted_conversion_goes_on(av2_copy, argoverse2_root, monkeypatch):
    from peridot.datasets import create_infos_argoverse2 as module

    reads, read = [], module.read_feather

    def stop(path, columns):
        if path.parent.name == 'lidar':
            reads.append(path)
            if len(reads) == 3:
                raise KeyboardInterrupt
        return read(path, columns)

    monkeypatch.setattr(module, 'read_feather', stop)
    with pytest.raises(KeyboardInterrupt):
        create_argoverse2_infos(av2_copy, every=1)
    assert len(list(av2_copy.rglob('*.bin'))) == 2 and not list(av2_copy.rglob('*.part'))
    assert len(create_argoverse2_infos(av2_copy, every=1)) == 2
    # of four sweeps two were there
    assert len(reads) == 3 + 2
    again = files(av2_copy)
    assert again == {name: data for name, data in files(argoverse2_root).items() if name.parts[0] != 'weak_labels'}


def test_products_go_to_another_folder(av2_copy, argoverse2_root, tmp_path, run_tool, capsys):
    before = files(av2_copy)
    run_tool('create_data', 'argoverse2', '--root', av2_copy, '--every', 1, '--out', tmp_path / 'out')
    assert f'{tmp_path}/out/argoverse2_infos_val.pkl' in capsys.readouterr().out and files(av2_copy) == before
    sample = paired(tmp_path / 'out', PROJECT)[0]
    usual = paired(argoverse2_root, PROJECT)[0]
    assert sample['token'] == usual['token'] and sample['lidar_path'].startswith(f'{tmp_path}/out/lidar/train/')
    np.testing.assert_array_equal(sample['points'].tensor, usual['points'].tensor)
    np.testing.assert_array_equal(sample['pairs'].position, usual['pairs'].position)


def test_the_nearest_image_is_taken(av2_copy, argoverse2_root):
    folder = log_folder(av2_copy, 0) / 'sensors/cameras/ring_side_left'
    for path in list(folder.iterdir()):
        # images of this camera come 12.7 ms after the sweep
        for offset in (-50_000_000, -26_000_000, 50_000_000):
            (folder / f'{int(path.stem) + offset}.jpg').touch()
        (folder / f'.{path.name}.tmp').touch()
    write_poses_between(log_folder(av2_copy, 0))
    create_argoverse2_infos(av2_copy, every=1)
    for ours, usual in zip(*(infos(root / 'argoverse2_infos_train.pkl') for root in (av2_copy, argoverse2_root))):
        paths = [info['images']['ring_side_left']['img_path'] for info in (ours, usual)]
        assert paths[0] == paths[1] and len(ours['images']) == 7


def write_poses_between(log: Path) -> None:
    """Poses also 60 ms before and after those that are there: standing still is enough here."""
    path = log / 'city_SE3_egovehicle.feather'
    table = feather.read_table(path).to_pandas()
    shifted = [table.assign(timestamp_ns=table.timestamp_ns + offset) for offset in (-60_000_000, 60_000_000)]
    feather.write_feather(pa.concat_tables([pa.Table.from_pandas(part) for part in (table, *shifted)]), str(path))


def test_cameras_without_an_image_are_absent(av2_copy, capsys):
    """Of one sweep, and of the log; a sweep without any image or pose is left out."""
    train, val = log_folder(av2_copy, 0), log_folder(av2_copy, 1)
    sorted((train / 'sensors/cameras/ring_front_left').iterdir())[0].unlink()
    shutil.rmtree(train / 'sensors/cameras/ring_rear_right')
    for folder in (val / 'sensors/cameras').iterdir():
        sorted(folder.iterdir())[1].unlink()
    create_argoverse2_infos(av2_copy, every=1, verbose=True)
    printed = capsys.readouterr().out
    assert 'train: 2 sweeps with 11 images of 1 logs; left out: 0 sweeps without image or pose, 0 logs' in printed
    assert 'val: 1 sweeps with 7 images of 1 logs; left out: 1 sweeps without image or pose, 0 logs' in printed
    config = Config.fromfile(REPO / 'configs/_base_/datasets/argoverse2_paired.py')
    dataset = DATASETS.build(dict(config.train_dataloader.dataset, data_root=str(av2_copy), **FAST))
    batch = PairedDataPreprocessor()(pseudo_collate([dataset[SampleKey(i, i)] for i in (0, 1)]))
    assert [sample.cameras for sample in batch['data_samples']] == [
        [name for name in CAMERAS if name not in without]
        for without in (('ring_front_left', 'ring_rear_right'), ('ring_rear_right',))
    ]
    assert batch['inputs']['images'].shape == (11, 3, 224, 416)
    assert set(batch['inputs']['pairs'].camera.tolist()) == set(range(11))


def test_every_nth_sweep(av2_copy, argoverse2_root):
    create_argoverse2_infos(av2_copy)
    assert infos(av2_copy / 'argoverse2_infos_train.pkl') == infos(argoverse2_root / 'argoverse2_infos_train.pkl')[:1]
    assert len(list(av2_copy.rglob('*.bin'))) == 2


def test_tables_of_any_kind_are_read(av2_copy, argoverse2_root):
    """Rows in another order, names as categories, columns and sensors that nobody asks for, other compression."""
    for path in av2_copy.glob('*/*/calibration/*.feather'):
        table = feather.read_table(path)
        table = table.append_column('comment', pa.array(['x'] * len(table)))
        names = pa.array([*table['sensor_name'].to_pylist(), 'stereo_front_left'])
        table = pa.concat_tables([table, pa.table({'sensor_name': ['stereo_front_left']})], promote_options='default')
        table = table.set_column(0, 'sensor_name', names.dictionary_encode())
        feather.write_feather(table.take(list(range(len(table)))[::-1]), str(path), compression='zstd')
    create_argoverse2_infos(av2_copy, every=1)
    for name in ('argoverse2_infos_train.pkl', 'argoverse2_infos_val.pkl'):
        assert (av2_copy / name).read_bytes() == (argoverse2_root / name).read_bytes()


def test_images_of_other_datasets_are_not_known(argoverse2_root):
    settings, path = read_settings(argoverse2_root), sorted(argoverse2_root.glob('train/*/sensors/cameras/*/*'))[0]
    for wrong in (
        path.with_stem(f'{int(path.stem) + 1000}'),
        path.with_stem(f'{int(path.stem) + 1}'),
        path.parents[1] / 'stereo_front_left' / path.name,
        path.parents[4] / 'log' / path.relative_to(path.parents[3]),
    ):
        with pytest.raises(DataError, match='is no image of a synthetic dataset'):
            image_view(settings, wrong)


@pytest.mark.parametrize('what', ['sweep', 'image', 'camera'])
def test_what_is_absent_is_counted_and_named_or_an_error(av2_copy, lines, what):
    log = log_folder(av2_copy, 0)
    cameras = log / 'sensors/cameras'
    first, second = sorted(path.stem for path in (log / 'sensors/lidar').iterdir())
    if what == 'sweep':
        for folder in cameras.iterdir():
            sorted(folder.iterdir())[0].unlink()
        line = rf'1 of 4 sweeps have no image within 0\.03 s, or no pose \({log.name}/{first}\)'
    elif what == 'image':
        sorted((cameras / 'ring_rear_left').iterdir())[0].unlink()
        line = rf'1 of 28 images are absent, .* \({log.name}/ring_rear_left: 1\)'
    else:
        shutil.rmtree(cameras / 'ring_rear_left')
        line = rf'2 of 28 images are absent, .* \({log.name}/ring_rear_left: 2\)'
    with pytest.raises(DataError, match=f'^{line}: unpack the logs again, or set --tolerance$'):
        create_argoverse2_infos(av2_copy, every=1, missing='error')
    assert not (av2_copy / 'lidar').exists()
    create_argoverse2_infos(av2_copy, every=1)
    assert len(lines) == 1 and re.match(f'{line}: left out; unpack', lines[0])
    assert [info['token'] for info in infos(av2_copy / 'argoverse2_infos_train.pkl')] == [
        f'{log.name}/{time}' for time in (first, second)[what == 'sweep' :]
    ]


def test_points_that_are_not_finite_are_left_out(av2_copy, argoverse2_root, lines):
    path = sorted((log_folder(av2_copy, 0) / 'sensors/lidar').iterdir())[0]
    table = feather.read_table(path).to_pandas()
    table.loc[[0, 5], 'x'] = np.nan
    feather.write_feather(table, str(path))
    with pytest.raises(DataError, match=rf'2 points are not finite \({path}\): unpack'):
        create_argoverse2_infos(av2_copy, every=1, missing='error')
    create_argoverse2_infos(av2_copy, every=1)
    assert len(lines) == 1 and lines[0].startswith(f'2 points are not finite ({path}): left out; unpack')
    ours, theirs = (paired(root, READ)[0]['points'].tensor.numpy() for root in (av2_copy, argoverse2_root))
    np.testing.assert_array_equal(ours, np.delete(theirs, [0, 5], 0))
