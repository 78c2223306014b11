"""Samples that lack what a config asks for: left out and counted, before the training begins."""

from pathlib import Path

import mmengine
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from peridot.datasets.missing import absent_files, files_in, first, report
from peridot.datasets.splits import make_splits
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
LABELS = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadPointLabels')]


def tokens(dataset) -> list[str]:
    return [dataset.get_data_info(row)['token'] for row in range(len(dataset))]


def test_samples_without_a_wanted_camera_are_left_out(tiny, lines):
    del tiny.content['data_list'][0]['images']['CAM_BACK']
    tiny.content['data_list'][2]['images']['CAM_BACK'].pop('img_path')
    del tiny.content['data_list'][3]['images']
    tiny.write_infos()
    both = tiny.build([], cameras=['CAM_FRONT', 'CAM_BACK'])
    assert tokens(both) == ['token1'] and both.left_out == ['token0', 'token2', 'token3']
    assert tokens(tiny.build([], cameras=['CAM_FRONT'])) == ['token0', 'token1', 'token2']
    assert len(tiny.build([], cameras=[])) == len(tiny.build([])) == 4
    what = 'lack an image of CAM_FRONT, CAM_BACK (token0, token2, token3; the first has those of CAM_FRONT): left out'
    assert (
        lines[0].startswith(f'3 of 4 samples of {tiny.root}/infos.pkl {what}') and 'create_data.py nuscenes' in lines[0]
    )
    assert lines[1].startswith(f'1 of 4 samples of {tiny.root}/infos.pkl') and len(lines) == 2


def test_where_all_cameras_are_read_there_must_be_one(tiny, lines):
    read = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadImageViews')]
    del tiny.content['data_list'][0]['images']['CAM_BACK']
    del tiny.content['data_list'][3]['images']
    tiny.write_infos()
    assert tokens(tiny.build(read)) == ['token0', 'token1', 'token2']
    assert len(tiny.build(read[:1])) == len(tiny.build(read, cameras=[])) == 4
    (line,) = lines
    assert '1 of 4 samples of ' in line and 'lack an image (token3): left out' in line


@pytest.mark.parametrize(
    'settings, error, message',
    [
        (dict(cameras=['CAM_BACK'], missing='error'), DataError, r'1 of 4 samples .* CAM_BACK \(token0; .*: unpack'),
        (dict(cameras=['CAM_LEFT']), DataError, r'4 of 4 samples .*CAM_LEFT .*the first has those of CAM_FRONT\)'),
        (dict(missing='warn'), ConfigError, "missing='warn', choose 'skip' .* or 'error'"),
    ],
)
def test_what_is_an_error(tiny, settings, error, message):
    del tiny.content['data_list'][0]['images']['CAM_BACK']
    tiny.write_infos()
    with pytest.raises(error, match=message) as caught:
        tiny.build([], **settings)
    assert '\n' not in str(caught.value)


def test_labels_matter_where_the_pipeline_reads_them(tiny, lines):
    del tiny.content['data_list'][1]['pts_semantic_mask_path']
    tiny.write_infos()
    assert tokens(tiny.build(LABELS)) == ['token0', 'token2', 'token3']
    assert 'lack point labels (token1): left out' in lines[0]
    assert len(tiny.build(LABELS[:1])) == 4 and len(lines) == 1
    for info in tiny.content['data_list']:
        info.pop('pts_semantic_mask_path', None)
    tiny.write_infos()
    with pytest.raises(DataError, match=r'4 of 4 samples .*lack point labels'):
        tiny.build(LABELS)


def test_the_folder_of_labels_follows_the_version(tiny):
    prefix = dict(tiny.config([])['data_prefix'], pts_semantic_mask='lidarseg/{version}')
    sample = tiny.build(LABELS, data_prefix=prefix)[0]
    assert sample['pts_semantic_mask_path'] == str(tiny.root / 'lidarseg/v1.0-mini/0_lidarseg.bin')
    del tiny.content['metainfo']['version']
    tiny.write_infos()
    sample = tiny.build([], data_prefix=prefix)[0]
    assert sample['pts_semantic_mask_path'] == str(tiny.root / 'lidarseg/v1.0-trainval/0_lidarseg.bin')


def test_a_split_of_samples_some_of_which_are_left_out(tiny, lines):
    """The split counts the samples of the info file; those that lack labels are missing from the training alone."""
    mmengine.dump(tiny.content, tiny.root / 'semantickitti_infos_train.pkl')
    for info in tiny.content['data_list']:
        info['lidar_points']['lidar_path'] = f'sequences/00/velodyne/{info.pop("token")}.bin'
    del tiny.content['data_list'][0]['pts_semantic_mask_path']
    tiny.content['metainfo']['dataset'] = 'semantickitti'
    mmengine.dump(tiny.content, tiny.root / 'semantickitti_infos_train.pkl')
    half, quarter, _ = make_splits('semantickitti', tiny.root, [50, 25, 100])
    for split in (half, quarter):
        split.write(tiny.root / 'splits')
    part = tiny.config(LABELS, ann_file='semantickitti_infos_train.pkl', cameras=[])
    dataset = dict(type='peridot.LabelFraction', dataset=part, split=f'splits/{half.name}.txt')
    cut = DATASETS.build(dataset)
    assert tokens(cut) == [half.samples[1]] and half.samples[0].endswith('token0')
    assert cut.metainfo['split']['selected'] == 1 and cut.metainfo['split']['available'] == 4
    with pytest.raises(DataError, match=r'all 1 samples of the split .* lack what the config asks for'):
        DATASETS.build(dict(dataset, split=f'splits/{quarter.name}.txt'))


def test_training_goes_on_with_the_other_samples(tiny, train_pipeline, lines):
    del tiny.content['data_list'][0]['images']['CAM_BACK']
    tiny.write_infos()
    dataset = tiny.build(train_pipeline, cameras=['CAM_FRONT', 'CAM_BACK'])
    batch = pseudo_collate([dataset[row] for row in range(len(dataset))])
    assert [sample.metainfo['token'] for sample in batch['data_samples']] == ['token1', 'token2', 'token3']


def waymo(root) -> dict:
    """Infos as mmdet3d 1.4 writes them: its own version, sweeps with poses alone."""
    rng, infos = np.random.default_rng(0), []
    (root / 'training/velodyne').mkdir(parents=True)
    for number in range(3):
        pose = np.eye(4)
        pose[:3, 3] = rng.uniform(-5, 5, 3)
        rng.uniform(-9, 9, (5, 6)).astype(np.float32).tofile(root / f'training/velodyne/100000{number}.bin')
        images = {
            name: dict(img_path=f'100000{number}.jpg', lidar2cam=np.eye(4).tolist(), cam2img=np.eye(4)[:3].tolist())
            for name in ('CAM_FRONT', 'CAM_FRONT_LEFT', 'CAM_FRONT_RIGHT', 'CAM_SIDE_LEFT', 'CAM_SIDE_RIGHT')
        }
        lidar = dict(lidar_path=f'100000{number}.bin', num_pts_feats=6)
        info = dict(sample_idx=1000000 + number, timestamp=1550083467346370 + number * 100000, images=images)
        info.update(ego2global=pose.astype(np.float32).tolist(), lidar_points=lidar, context_name='x')
        if infos:
            keys = ('timestamp', 'ego2global')
            sweeps = [{key: past[key] for key in keys} for past in infos[::-1]]
            for sweep, past in zip(sweeps, infos[::-1]):
                sweep['lidar_points'] = dict(lidar_path=past['lidar_points']['lidar_path'])
            info['lidar_sweeps'] = sweeps
        infos.append(info)
    return dict(metainfo=dict(dataset='waymo', version='waymo_v1.4', info_version='mmdet3d_v1.4'), data_list=infos)


def test_infos_of_waymo_with_sweeps(tmp_path, lines):
    content = waymo(tmp_path)
    mmengine.dump(content, tmp_path / 'waymo_infos_train.pkl')
    config = Config.fromfile(REPO / 'configs/_base_/datasets/waymo_paired.py')
    part = dict(config.train_dataloader.dataset, data_root=str(tmp_path), pipeline=[], num_sweeps=2)
    sample = DATASETS.build(part)[2]
    assert [sweep['lidar_path'] for sweep in sample['lidar_sweeps']] == [
        str(tmp_path / f'training/velodyne/100000{number}.bin') for number in (1, 0)
    ]
    places = [np.array(info['ego2global'])[:3, 3] for info in content['data_list']]
    # poses without turns: a sweep is shifted by the way of the car
    np.testing.assert_allclose(sample['lidar_sweeps'][1]['sensor2lidar'][:3, 3], places[0] - places[2], atol=1e-5)
    assert sample['lidar_sweeps'][0]['time'] == pytest.approx(-0.1, abs=1e-5) and not lines


def test_sweeps_whose_file_is_absent(demo_root, tmp_path, lines):
    content = mmengine.load(demo_root / 'nuscenes_infos_train.pkl')
    infos = [info for info in content['data_list'] if info.get('lidar_sweeps')]
    infos[0]['lidar_sweeps'][0]['lidar_points']['lidar_path'] = 'sweeps/LIDAR_TOP/gone.bin'
    mmengine.dump(content, tmp_path / 'infos.pkl')
    prefix = dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP')
    part = dict(type='peridot.PairedDataset', data_root=str(demo_root), ann_file=str(tmp_path / 'infos.pkl'))
    part.update(data_prefix=prefix, cameras=[], pipeline=[])
    dataset = DATASETS.build(dict(part, num_sweeps=1))
    counts = {sample['token']: len(sample['lidar_sweeps']) for sample in dataset}
    assert counts[infos[0]['token']] == 0 and counts[infos[1]['token']] == 1
    (line,) = lines
    assert f'1 of {len(infos)} sweeps before key frames are absent' in line and 'LIDAR_TOP/gone.bin): left out' in line
    assert len(DATASETS.build(part)) == len(content['data_list']) and len(lines) == 1
    wrong = dict(part, num_sweeps=1, data_prefix=dict(prefix, sweeps='sweep'))
    with pytest.raises(
        DataError, match=rf'{len(infos)} of {len(infos)} sweeps .*data_prefix\.sweeps, or set num_sweeps=0'
    ):
        DATASETS.build(wrong)
    with pytest.raises(DataError, match=f'1 of {len(infos)} sweeps'):
        DATASETS.build(dict(part, num_sweeps=1, missing='error'))


def test_files_of_a_folder(tmp_path):
    for name in ('b.JPG', 'a.png', 'a.jpg', '.c.png.9.part', 'd.txt', '.e.png'):
        (tmp_path / name).touch()
    assert files_in(tmp_path, '.png', '.jpg') == {'a': 'a.png', 'b': 'b.JPG'}
    assert files_in(tmp_path, '.jpg', '.png') == {'a': 'a.jpg', 'b': 'b.JPG'}
    assert files_in(tmp_path / 'no', '.png') == {}
    paths = [str(tmp_path / name) for name in ('a.png', 'x.png', 'no/a.png')]
    assert absent_files([*paths, 's3://bucket/a.png']) == set(paths[1:])


def test_a_report_names_three(lines):
    assert first(['a', 'b', 'c']) == 'a, b, c' and first('abcd') == 'a, b, c, ...'
    report('2 of 3 scans', 'unpack x.zip')
    assert lines == ['2 of 3 scans: left out; unpack x.zip']
    with pytest.raises(DataError, match=r'^2 of 3 scans: unpack x\.zip$'):
        report('2 of 3 scans', 'unpack x.zip', 'error')
