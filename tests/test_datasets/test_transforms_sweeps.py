"""The sweep before a keyframe, as nuScenes' infos list it: its points and its sensor in the keyframe's frame."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.fileio import dump, load
from peridot.datasets import PairedDataset
from peridot.datasets.transforms import LoadSecondSweep, SampleOccupancyQueries
from peridot.errors import ConfigError, DataError
from scipy.spatial.transform import Rotation

PREFIX = dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP')
LOAD = [dict(type='peridot.LoadPoints', load_dim=5, use_dim=4)]


def make_dataset(root, num_sweeps=1, ann_file='nuscenes_infos_train.pkl', pipeline=LOAD):
    return PairedDataset(
        str(root), ann_file, PREFIX, cameras=[], num_sweeps=num_sweeps, pipeline=pipeline, test_mode=True
    )


@pytest.fixture(scope='module')
def moving(demo_root):
    """The keyframe whose car went farthest since its sweep, and the results of loading both."""
    dataset = make_dataset(demo_root)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    ways = [np.abs(info['lidar_sweeps'][0]['sensor2lidar'][:3, 3]).max() for info in infos]
    results = dataset[int(np.argmax(ways))]
    return results, LoadSecondSweep()(dict(results))['second_sweep']


def sensor_pose(root, filename):
    """Frame of the lidar at the time of a file in the world, from the tables themselves."""
    table = {name: json.loads((root / f'v1.0-mini/{name}.json').read_text()) for name in ('sample_data', 'ego_pose')}
    table['calibrated_sensor'] = json.loads((root / 'v1.0-mini/calibrated_sensor.json').read_text())
    record = next(row for row in table['sample_data'] if row['filename'].endswith(filename))
    pose = np.eye(4)
    for name in ('ego_pose', 'calibrated_sensor'):
        own = next(row for row in table[name] if row['token'] == record[f'{name}_token'])
        step = np.eye(4)
        step[:3, :3] = Rotation.from_quat(np.roll(own['rotation'], -1)).as_matrix()
        step[:3, 3] = own['translation']
        pose = pose @ step
    return pose


def test_sensor_and_points_are_where_the_tables_say(moving, demo_root):
    results, second = moving
    path = results['lidar_sweeps'][0]['lidar_path']
    key, sweep = (sensor_pose(demo_root, name.rsplit('/')[-1]) for name in (results['lidar_path'], path))
    to_key = np.linalg.inv(key) @ sweep
    assert np.linalg.norm(to_key[:3, 3]) > 1
    np.testing.assert_allclose(second['sensor_origin'], to_key[:3, 3], atol=1e-3)
    raw = np.fromfile(path, np.float32).reshape(-1, 5)
    np.testing.assert_allclose(second['points'][:, :3], raw[:, :3] @ to_key[:3, :3].T + to_key[:3, 3], atol=1e-2)
    np.testing.assert_array_equal(second['points'][:, 3], raw[:, 3])


def test_half_of_the_queries_stem_from_the_second_sweep(moving):
    results, second = moving
    torch.manual_seed(0)
    step = SampleOccupancyQueries(901, delta=0.1, intensity_scale=255.0)
    queries = step({**results, 'second_sweep': second})['queries']
    # 451 of the keyframe, 450 of the other: thirds of each
    assert queries.occupied.tolist() == [True] * 151 + [False] * 300 + [True] * 150 + [False] * 300
    assert queries.has_intensity.tolist() == [True] * 301 + [False] * 150 + [True] * 300 + [False] * 150
    origin = second['sensor_origin']
    rays = torch.nn.functional.normalize(second['points'][:, :3] - origin, dim=1)
    own = torch.nn.functional.normalize(queries.position[451:] - origin, dim=1)
    assert (own @ rays.T).max(1).values.min() > 1 - 1e-5
    # from the keyframe's sensor these rays would be others
    wrong = torch.nn.functional.normalize(second['points'][:, :3], dim=1)
    assert (torch.nn.functional.normalize(queries.position[451:], dim=1) @ wrong.T).max(1).values.min() < 1 - 1e-4


def test_second_sweep_follows_the_augmentation(moving):
    from mmdet3d.datasets.transforms import GlobalRotScaleTrans

    results, second = moving
    step = SampleOccupancyQueries(300)
    torch.manual_seed(0)
    plain = step({**results, 'points': results['points'].clone(), 'second_sweep': second})['queries']
    np.random.seed(0)
    turn = GlobalRotScaleTrans(rot_range=[1.0, 2.0], scale_ratio_range=[0.5, 0.8], translation_std=[3.0, 3.0, 1.0])
    augmented = turn({**results, 'points': results['points'].clone(), 'second_sweep': second})
    torch.manual_seed(0)
    queries = step(augmented)['queries']
    expected = plain.position @ augmented['pcd_rotation'] * augmented['pcd_scale_factor'] + augmented['pcd_trans']
    torch.testing.assert_close(queries.position, expected.float(), rtol=1e-4, atol=1e-3)


def test_one_return_of_each_voxel(moving):
    results, second = moving
    thin = LoadSecondSweep(voxel_size=1.0)(dict(results))['second_sweep']['points']
    assert 0 < len(thin) < 0.5 * len(second['points'])


def test_a_keyframe_without_sweeps_goes_without(moving):
    results = {**moving[0], 'lidar_sweeps': []}
    assert 'second_sweep' not in LoadSecondSweep()(results)
    assert len(SampleOccupancyQueries(300)(results)['queries']) == 300


def test_without_sweeps_in_the_dataset_it_is_a_config_error(demo_root):
    results = make_dataset(demo_root, num_sweeps=0)[0]
    with pytest.raises(ConfigError, match='num_sweeps'):
        LoadSecondSweep()(results)


def test_bad_sweeps_are_one_clear_line(demo_root, tmp_path, moving):
    content = load(demo_root / 'nuscenes_infos_train.pkl')
    content['data_list'][0]['lidar_sweeps'][0]['lidar_points']['lidar2sensor'] = None
    dump(content, tmp_path / 'bad.pkl')
    with pytest.raises(DataError, match=r'lidar2sensor.*num_sweeps=0'):
        make_dataset(demo_root, ann_file=str(tmp_path / 'bad.pkl'))
    make_dataset(demo_root, num_sweeps=0, ann_file=str(tmp_path / 'bad.pkl'))
    sweep = dict(moving[0]['lidar_sweeps'][0], lidar_path=str(tmp_path / 'sweep.bin'))
    shutil.copy(moving[0]['lidar_path'], tmp_path / 'sweep.bin')
    with open(tmp_path / 'sweep.bin', 'ab') as file:
        file.write(b'xyz')
    with pytest.raises(DataError, match=r'sweep\.bin has'):
        LoadSecondSweep()({**moving[0], 'lidar_sweeps': [sweep]})
