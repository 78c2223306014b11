"""Samples of several frames: which they are, and that static points coincide after the transforms."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from peridot.datasets.frames import FrameRule, drives_of, link_frames, seconds
from peridot.datasets.sampler import SampleKey
from peridot.datasets.transforms import DrawCameras, LoadPoints
from peridot.errors import ConfigError, DataError
from peridot.maps import write_map
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.registry import DATASETS
from peridot.structures import ImageViews
from scipy.spatial import cKDTree
from torch.testing import assert_close

CAMERAS = ['CAM_FRONT', 'CAM_BACK']
PREFIX = dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP', pts_semantic_mask='lidarseg/v1.0-mini')
PREFIX |= {name: f'samples/{name}' for name in CAMERAS}
FRAMES = dict(keyframes=(1,), sweeps=(1,))
LOAD = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4)
LABELS = dict(type='peridot.LoadPointLabels')
MANMADE, VEGETATION = 14, 15
READ = [
    dict(type='peridot.LoadImageViews'),
    dict(type='peridot.ProjectPoints'),
]
MOVE = [
    dict(
        type='mmdet3d.GlobalRotScaleTrans',
        rot_range=[0.0, 6.28],
        scale_ratio_range=[0.9, 1.1],
        translation_std=[1, 1, 0.2],
    ),
    dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
]
SHARED = [dict(type='peridot.SameInAllFrames', transforms=MOVE)]
PACK = [dict(type='peridot.ResizeViews', size=(64, 112)), dict(type='peridot.PackPaired')]


def info(row, time, log='log', **fields):
    place = np.eye(4)
    place[0, 3] = 10 * time
    cameras = dict(
        cameras=['C'], img_paths=['i'], img_tokens=[None], lidar2cam=np.eye(4)[None], cam2img=np.eye(4)[None]
    )
    path = f'samples/{log}__LIDAR__{row}.bin'
    own = dict(token=row, timestamp=time, lidar2global=place, lidar_path=path, lidar_points=dict(lidar_path=path))
    return {**own, **cameras, 'lidar_sweeps': [], **fields}


def test_drives_end_at_gaps_and_other_logs():
    infos = [info(0, 3.0), info(1, 0.5), info(2, 0.0), info(3, 0.0, log='other'), info(4, 3.4), info(5, 1.6)]
    assert list(drives_of(infos, max_gap=1.2)) == [[2, 1, 5], [0, 4], [3]]
    assert list(drives_of(infos, max_gap=2.0)) == [[2, 1, 5, 0, 4], [3]]
    assert list(drives_of([], 1.0)) == []


def test_frames_of_the_first_and_last_keyframe_are_fewer():
    infos = [info(row, 0.5 * row) for row in range(3)]
    link_frames(infos, FrameRule(keyframes=(-1, 1, 2)))
    found = [[(f['token'], f['frame'], f['time']) for f in i['frames']] for i in infos]
    assert found == [[(1, 2, 0.5), (2, 3, 1.0)], [(0, 1, -0.5), (2, 2, 0.5)], [(1, 1, -0.5)]]
    # a point one meter ahead of the later scan lies six meters ahead in the earlier one
    (later, _) = infos[0]['frames']
    assert_close(later['to_sample'] @ [1, 0, 0, 1], np.array([6.0, 0, 0, 1]))
    assert all('frames' not in frame for i in infos for frame in i['frames'])


def test_sweeps_have_no_images_and_numbers_behind_the_keyframes():
    sweep = dict(lidar_path='sweep.bin', time=-0.05, sensor2lidar=2 * np.eye(4))
    infos = [info(0, 0.0, lidar_sweeps=[sweep]), info(1, 0.5)]
    link_frames(infos, FrameRule(keyframes=(1,), sweeps=(1, 2), cameras=False))
    later, earlier = infos[0]['frames']
    assert later['img_paths'] == earlier['img_paths'] == [] and infos[0]['img_paths'] == ['i']
    assert (earlier['frame'], earlier['time'], earlier['lidar_path']) == (2, -0.05, 'sweep.bin')
    assert infos[1]['frames'] == []


def test_the_dense_cloud_is_the_last_frame_and_has_no_images():
    sweeps = [dict(lidar_path=f'{i}.bin', time=-0.05 * i, sensor2lidar=np.eye(4)) for i in (1, 2, 3)]
    infos = [info(0, 0.0), info(1, 0.5, lidar_sweeps=sweeps, pts_semantic_mask_path='labels')]
    link_frames(infos, FrameRule(keyframes=(-1,), sweeps=(1,), dense=2))
    assert infos[0]['frames'] == []
    *_, dense = infos[1]['frames']
    assert (dense['frame'], dense['time'], dense['lidar_path']) == (3, 0.0, infos[1]['lidar_path'])
    assert dense['dense_sweeps'] == sweeps[:2]
    assert dense['img_paths'] == [] and 'pts_semantic_mask_path' not in dense
    assert_close(dense['to_sample'], np.eye(4))


def test_missing_frames_repeat_the_keyframe():
    infos = [info(0, 0.0), info(1, 5.0)]
    link_frames(infos, FrameRule(keyframes=(-1, 1), dense=2, missing='repeat'))
    for row in (0, 1):
        frames = [(f['token'], f['frame'], f['time']) for f in infos[row]['frames']]
        assert frames == [(row, 1, 0.0), (row, 2, 0.0), (row, 3, 0.0)]
        assert_close(infos[row]['frames'][0]['to_sample'], np.eye(4))
    # one keyframe alone in its drive
    assert infos[0]['frames'][0]['img_paths'] == ['i'] and infos[0]['frames'][2]['dense_sweeps'] == []


@pytest.mark.parametrize('wrong', [dict(), dict(keyframes=(0, 1)), dict(sweeps=(0,)), dict(dense=-1)])
def test_rules_without_sense(wrong):
    with pytest.raises(ConfigError, match='set offsets other than 0'):
        FrameRule(**wrong)
    with pytest.raises(ConfigError, match="choose 'skip' or 'repeat'"):
        FrameRule(keyframes=(1,), missing='leave')


def streets(demo_root, pipeline, **settings):
    return DATASETS.build(
        dict(
            type='peridot.PairedDataset',
            data_root=str(demo_root),
            ann_file='nuscenes_infos_train.pkl',
            data_prefix=PREFIX,
            cameras=CAMERAS,
            pipeline=pipeline,
            **settings,
        )
    )


def batch_of(*samples):
    return PairedDataPreprocessor()(pseudo_collate(list(samples)))['inputs']


def row_with_all_frames(dataset):
    return next(row for row in range(len(dataset)) if len(dataset.get_data_info(row)['frames']) == 2)


@pytest.mark.parametrize('augment', [[], MOVE, SHARED], ids=['plain', 'each', 'shared'])
def test_static_points_lie_on_the_surfaces_of_the_next_frame(demo_root, augment):
    dataset = streets(demo_root, [LOAD, LABELS, *READ, *augment, *PACK], frames=dict(keyframes=(1,)))
    for row in [row for row in range(len(dataset)) if dataset.get_data_info(row)['frames']][2::5]:
        sample = dataset[SampleKey(row, 3)]
        inputs, classes = batch_of(sample), sample['data_samples'].gt_pts_seg.pts_semantic_mask
        (here, there), frames = inputs['points'], inputs['frames']
        assert frames.frame.tolist() == [0, 1] and frames.time[1] == pytest.approx(0.5, abs=0.05)
        # without the ground, whose rings look the same everywhere
        static = here[(here[:, :2].norm(dim=1) < 15) & np.isin(classes, [MANMADE, VEGETATION]), :3]
        matrix = frames.between(torch.tensor([0]), torch.tensor([1]))[0]
        moved = static.double() @ matrix[:3, :3].T + matrix[:3, 3]
        surface = cKDTree(there[:, :3].numpy())
        near, far = (np.quantile(surface.query(xyz.numpy())[0], 0.75) for xyz in (moved, static))
        assert near < 0.2 and far > 2 * near


DENSE = dict(dense=1)
CROP = [
    dict(type='peridot.RandomResizedCropViews', size=(64, 112), min_pairs=10),
    dict(type='peridot.RandomFlipViews', prob=0.5),
]
MAPS = dict(type='peridot.LoadViewMaps', names=['superpixels'])


def row_with_sweeps(dataset):
    return next(row for row in range(len(dataset)) if dataset.get_data_info(row)['lidar_sweeps'])


def dense_inputs(root, *steps, seed=3, **settings):
    """Inputs of a sample with a dense cloud and of the same without, and the number of its points that are new."""
    datasets = [
        streets(root, [LOAD, *READ, *steps], frames=frames, **settings) for frames in (DENSE, dict(sweeps=(1,)))
    ]
    row = row_with_sweeps(datasets[0])
    return [batch_of(dataset[SampleKey(row, seed)]) for dataset in datasets]


@pytest.mark.parametrize('steps', [PACK, [*MOVE, *CROP, *PACK]], ids=['plain', 'augmented'])
def test_a_dense_cloud_shares_the_images_of_its_keyframe(demo_root, steps):
    """Whatever crop and mirror was drawn, its first points have the pairs of the keyframe's."""
    for seed in (3, 4):
        dense, _ = dense_inputs(demo_root, *steps, seed=seed)
        frames, pairs, number = dense['frames'], dense['pairs'], len(dense['points'][0])
        assert frames.frame.tolist() == [0, 1] and frames.num_images.tolist() == [2, 0]
        assert len(dense['images']) == 2 and len(dense['points'][1]) > number
        key, other = pairs[pairs.point < number], pairs[pairs.point >= number]
        same = other[other.point < 2 * number]
        assert (same.point - number).tolist() == key.point.tolist() and len(key) < len(other)
        assert same.camera.tolist() == key.camera.tolist()
        assert_close(same.position, key.position, atol=2e-3, rtol=0)
        assert (other.camera < 2).all()


def test_points_of_a_dense_cloud_meet_in_the_frame_of_the_keyframe(demo_root):
    dense, sweeps = dense_inputs(demo_root, *PACK)
    key, sweep = sweeps['points']
    matrix = sweeps['frames'].between(torch.tensor([1]), torch.tensor([0]))[0]
    assert matrix[:3, 3].norm() > 0.3
    expected = torch.cat([key[:, :3].double(), sweep[:, :3].double() @ matrix[:3, :3].T + matrix[:3, 3]])
    assert_close(dense['points'][1][:, :3].double(), expected, atol=1e-3, rtol=0)
    assert_close(dense['points'][1][:, 3], torch.cat([key[:, 3], sweep[:, 3]]))
    # its own augmentation is part of the transform to the keyframe
    moved, _ = dense_inputs(demo_root, *MOVE, *PACK)
    matrix, number = moved['frames'].between(torch.tensor([1]), torch.tensor([0]))[0], len(key)
    back = moved['points'][1][:number, :3].double() @ matrix[:3, :3].T + matrix[:3, 3]
    assert_close(back, moved['points'][0][:, :3].double(), atol=1e-3, rtol=0)
    assert (moved['points'][1][:number] - moved['points'][0]).abs().max() > 1


def test_images_are_read_once_and_maps_are_those_of_the_keyframe(tiny, monkeypatch):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
    tiny.write_infos()
    labels, read = dict(type='peridot.LoadPairLabels'), []
    monkeypatch.setattr(ImageViews, 'from_files', reading(read))
    steps = [dict(type='peridot.LoadPoints'), *READ, labels, MAPS, *MOVE, *CROP, *PACK]
    dataset = tiny.build(steps, frames=dict(dense=2, missing='repeat'))
    inputs = batch_of(dataset[SampleKey(1, 5)])
    assert len(read) == 1 and inputs['maps']['superpixels'].shape == (2, 64, 112)
    # without sweeps the dense cloud is the keyframe's
    own, dense = (inputs['pairs'][inputs['pairs'].point // len(inputs['points'][0]) == scan] for scan in (0, 1))
    assert own.label.tolist() == dense.label.tolist() and len(own)
    assert batch_of(tiny.build(steps, frames=dict(dense=2))[0])['frames'].frame.tolist() == [0]


def test_a_class_beyond_the_list_in_a_neighbor_is_named(tiny):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
    tiny.write_infos()
    steps = [dict(type='peridot.LoadPoints'), *READ, dict(type='peridot.LoadViewMaps', names=['labels']), *PACK]
    dataset = tiny.build(steps, frames=dict(keyframes=(-1, 1)))
    assert len(dataset[1]['inputs']['maps']['labels']) == 6
    write_map(tiny.root / 'labels/samples/CAM_BACK/2.png', np.full((90, 160), 17, np.uint8))
    with pytest.raises(DataError, match=r'CAM_BACK/2\.png'):
        dataset[1]


def reading(read):
    whole = ImageViews.from_files

    def from_files(paths, backend_args=None):
        read.append(paths)
        return whole(paths, backend_args)

    return from_files


DRAW = [dict(type='peridot.SameInAllFrames', transforms=[dict(type='peridot.DrawCameras', num_cameras=1)])]


def test_cameras_are_drawn_once_per_sample(demo_root):
    rule = dict(keyframes=(-1, 1), dense=1)
    dataset = streets(demo_root, [LOAD, *DRAW, *READ, *MOVE, *PACK], frames=rule)
    whole = streets(demo_root, [LOAD, *READ, *PACK], frames=dict(keyframes=(-1, 1)))
    row, drawn = row_with_all_frames(dataset), set()
    everything = batch_of(whole[row])
    for seed in range(6):
        inputs = batch_of(dataset[SampleKey(row, seed)])
        # key, neighbor, dense
        assert inputs['frames'].num_images.tolist() == [1, 1, 0]
        (camera,) = (i for i in (0, 1) if (inputs['images'][0] == everything['images'][i]).all())
        assert (inputs['images'][1] == everything['images'][2 + camera]).all()
        expected = [(everything['pairs'].camera == 2 * scan + camera).sum() for scan in (0, 1)]
        dense = inputs['pairs'].point >= sum(map(len, inputs['points'][:2]))
        assert [(inputs['pairs'].camera[~dense] == scan).sum() for scan in (0, 1)] == expected
        assert (inputs['pairs'].camera[dense] == 0).all() and dense.sum() > expected[0]
        drawn.add(camera)
    assert drawn == {0, 1}
    assert_close(inputs['pairs'].position, batch_of(dataset[SampleKey(row, seed)])['pairs'].position)


def test_frames_with_other_cameras_draw_from_their_own(tiny):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
    del tiny.content['data_list'][1]['images']['CAM_FRONT']
    tiny.write_infos()
    dataset = tiny.build([dict(type='peridot.LoadPoints'), *DRAW, *READ, *PACK], frames=dict(keyframes=(1,)))
    for seed in range(4):
        assert batch_of(dataset[SampleKey(0, seed)])['frames'].num_images.tolist() == [1, 1]
    whole = DrawCameras(5).transform(dict(dataset.get_data_info(0)))
    assert whole['cameras'] == dataset.get_data_info(0)['cameras']
    with pytest.raises(ConfigError, match='keep at least one'):
        DrawCameras(0)


def test_a_camera_that_is_chosen_by_its_points_knows_no_dense_cloud(demo_root):
    dataset = streets(demo_root, [LOAD, dict(type='peridot.ChooseCamera'), *PACK], frames=DENSE)
    with pytest.raises(ConfigError, match='put DrawCameras'):
        dataset[row_with_sweeps(dataset)]


def test_sweeps_are_moved_by_the_exact_transform(golden, tmp_path):
    arrays = golden('superflow_sweeps')
    number = int(arrays['sweeps_num'])
    np.pad(arrays['points'], ((0, 0), (0, 1))).tofile(tmp_path / 'key.bin')
    sweeps = []
    for i, (points, matrix) in enumerate(zip(arrays['sweeps'][:number], arrays['lidar2sensor'])):
        points.tofile(tmp_path / f'{i}.bin')
        sweeps.append(dict(lidar_path=str(tmp_path / f'{i}.bin'), sensor2lidar=np.linalg.inv(matrix)))
    results = dict(lidar_points=dict(lidar_path=str(tmp_path / 'key.bin')), dense_sweeps=sweeps)
    found = LoadPoints(load_dim=5, use_dim=4)(results)['points'].tensor.numpy()
    np.testing.assert_allclose(found, arrays['exact'], atol=1e-5)
    assert np.abs(found - arrays['released']).max() > 0.05


def test_augmentation_is_drawn_for_each_frame_or_shared(demo_root):
    def rotations(augment):
        dataset = streets(demo_root, [LOAD, *READ, *augment, *PACK], frames=FRAMES)
        frames = batch_of(dataset[SampleKey(row_with_all_frames(dataset), 3)])['frames']
        plain = streets(demo_root, [LOAD, *READ, *PACK], frames=FRAMES)
        still = batch_of(plain[SampleKey(row_with_all_frames(plain), 3)])['frames']
        # what the augmentation did to each frame
        return torch.linalg.solve(frames.to_sample, still.to_sample)

    shared, each = rotations(SHARED), rotations(MOVE)
    assert_close(shared, shared[:1].expand(3, 4, 4))
    assert (each[1] - each[0]).abs().max() > 0.1 and (each[2] - each[0]).abs().max() > 0.1


def test_pairs_and_images_of_all_frames_are_those_of_the_frames_alone(demo_root):
    dataset = streets(demo_root, [LOAD, *READ, *PACK], frames=FRAMES)
    alone = streets(demo_root, [LOAD, *READ, *PACK])
    row = row_with_all_frames(dataset)
    inputs = batch_of(dataset[row], dataset[row])
    frames = inputs['frames']
    assert frames.sample.tolist() == [0] * 3 + [1] * 3 and frames.frame.tolist() == [0, 1, 2] * 2
    assert frames.num_images.tolist() == [2, 2, 0] * 2 and frames.image_scan.tolist() == [0, 0, 1, 1, 3, 3, 4, 4]
    tokens = [dataset.get_data_info(row)['token'], dataset.get_data_info(row)['frames'][0]['token']]
    rows = [next(i for i in range(len(alone)) if alone.get_data_info(i)['token'] == token) for token in tokens]
    expected = batch_of(*(alone[i] for i in rows))
    assert len(inputs['points']) == 6
    for scan in range(2):
        assert_close(inputs['points'][scan], expected['points'][scan])
    assert_close(inputs['images'][:4], expected['images'])
    own = inputs['pairs'][inputs['pairs'].camera < 4]
    assert_close(own.point, expected['pairs'].point)
    assert_close(own.position, expected['pairs'].position)


def test_points_that_all_frames_drop_are_counted(demo_root, monkeypatch):
    whole = LoadPoints._load_points

    def lossy(self, path):
        points = whole(self, path).reshape(-1, self.load_dim).copy()
        points[:3] = np.nan
        return points.ravel()

    monkeypatch.setattr(LoadPoints, '_load_points', lossy)
    steps = [dict(LOAD, nonfinite='drop'), dict(type='peridot.LoadSecondSweep', nonfinite='drop')]
    dataset = streets(demo_root, [*steps, *READ, *PACK], frames=dict(keyframes=(1,), dense=1), num_sweeps=1)
    infos = [dataset.get_data_info(row) for row in range(len(dataset))]
    row = next(row for row, info in enumerate(infos) if info['frames'] and info['lidar_sweeps'])
    clouds = 3 + sum(bool(info['lidar_sweeps']) for info in (infos[row], *infos[row]['frames']))
    # and the sweep in the dense cloud
    clouds += 1
    assert dataset[SampleKey(row, 3)]['data_samples'].metainfo['dropped_points'] == 3 * clouds


def test_subsets_keep_the_neighbors(demo_root):
    whole = streets(demo_root, [], frames=dict(keyframes=(1,)))
    part = streets(demo_root, [], frames=dict(keyframes=(1,)), indices=[0])
    assert len(part) == 1
    assert part.get_data_info(0)['frames'][0]['token'] == whole.get_data_info(0)['frames'][0]['token']


def test_a_sample_of_one_frame_is_packed_as_before(demo_root):
    alone = streets(demo_root, [LOAD, *READ, *MOVE, *PACK])
    frames = batch_of(alone[SampleKey(0, 1)])['frames']
    assert frames.frame.tolist() == [0] and frames.num_images.tolist() == [2]
    assert_close(frames.to_sample[0], torch.eye(4, dtype=torch.float64))
    wrapped = streets(demo_root, [LOAD, *READ, *SHARED, *PACK])
    assert_close(wrapped[SampleKey(0, 1)]['inputs']['points'], alone[SampleKey(0, 1)]['inputs']['points'])


@pytest.mark.parametrize('lost, text', [('timestamp', 'no timestamp'), ('ego2global', 'no ego pose')])
def test_info_files_without_times_or_poses(tiny, lost, text):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
        del sample[lost]
    tiny.write_infos()
    with pytest.raises(DataError, match=f'{text}.*create_data.py.*take `frames` out'):
        tiny.build([], frames=dict(keyframes=(1,)))


def test_settings_that_frames_do_not_have(tiny):
    with pytest.raises(ConfigError, match='set keyframes, sweeps, cameras, max_gap, dense, missing and images_of'):
        tiny.build([], frames=dict(offsets=(1,)))


def test_a_frame_that_the_pipeline_gives_up_is_left_out(tiny, monkeypatch):
    for number, sample in enumerate(tiny.content['data_list']):
        sample.update(timestamp=0.5 * number, ego2global=np.eye(4).tolist())
    tiny.write_infos()
    dataset = tiny.build(
        [dict(type='peridot.LoadPoints'), dict(type='peridot.PackPaired')], frames=dict(keyframes=(-1, 1))
    )
    run = dataset.pipeline.__class__.__call__
    monkeypatch.setattr(
        dataset.pipeline.__class__,
        '__call__',
        lambda self, info: None if info['token'] == 'token2' else run(self, info),
    )
    assert batch_of(dataset[1])['frames'].frame.tolist() == [0, 1]


def test_times_in_microseconds():
    assert seconds(1532402927502538) == pytest.approx(1532402927.502538)
    assert seconds(1532402927.5) == 1532402927.5 and seconds(0.1) == 0.1
