"""Making a dataset: settings, resuming, info files, which mmdet3d's own classes read."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peridot.datasets.create_infos import create_nuscenes_infos
from peridot.errors import ConfigError, DataError
from PIL import Image
from streets import dataset, make_dataset
from streets.formats import make_frames
from streets.frame import VERSION
from streets.rig import CAMERAS
from streets.taxonomy import CATEGORIES, SCENES

REPO = Path(__file__).resolve().parents[2]


def infos(root, split):
    with open(root / f'nuscenes_infos_{split}.pkl', 'rb') as file:
        return pickle.load(file)


def test_infos(demo_root):
    train, val = infos(demo_root, 'train'), infos(demo_root, 'val')
    assert len(train['data_list']) == 16 and len(val['data_list']) == 4
    for info in train['data_list'] + val['data_list']:
        assert set(info['images']) == set(CAMERAS)
        for name, camera in info['images'].items():
            assert np.array(camera['lidar2cam']).shape == (4, 4) and np.array(camera['cam2img']).shape == (3, 3)
            with Image.open(demo_root / 'samples' / name / camera['img_path']) as image:
                assert image.size == (352, 198)
        labels = demo_root / 'lidarseg' / VERSION / info['pts_semantic_mask_path']
        points = demo_root / 'samples/LIDAR_TOP' / info['lidar_points']['lidar_path']
        assert points.stat().st_size == 20 * labels.stat().st_size
        assert info['lidar_points']['num_pts_feats'] == 5 and info['instances']
    assert len(val['data_list'][1]['lidar_sweeps']) == 3


def test_making_it_again_changes_nothing(demo_root, monkeypatch):
    monkeypatch.setattr(dataset, '_make_all', lambda *_: pytest.fail('made again'))
    make_dataset(demo_root, keyframes=2, sweeps=1, image_size=(198, 352), seed=0)


def test_other_settings_are_refused(demo_root, tmp_path):
    with pytest.raises(DataError, match='--overwrite'):
        make_dataset(demo_root, keyframes=3, sweeps=1, image_size=(198, 352))
    (tmp_path / 'samples').mkdir()
    with pytest.raises(DataError, match='not synthetic'):
        make_dataset(tmp_path, overwrite=True)
    wrongs = ({'keyframes': 0}, {'sweeps': 12}, {'image_size': (8, 8)}, {'format': 'lyft'})
    for wrong in (*wrongs, {'format': 'kitti', 'sweeps': 4}):
        with pytest.raises(ConfigError):
            make_dataset(tmp_path / 'x', **wrong)
    assert not (tmp_path / 'x').exists()


def test_interrupted_work_is_resumed(tmp_path, monkeypatch):
    """A kill between frames leaves finished frames alone; the finished dataset equals an uninterrupted one."""
    monkeypatch.setattr(dataset, 'SCENES', SCENES[:2])
    sizes = {'keyframes': 1, 'sweeps': 0, 'image_size': (64, 96), 'workers': 1, 'infos': False, 'progress': False}
    halted = replace(dataset.FORMATS['nuscenes'], finish=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setitem(dataset.FORMATS, 'nuscenes', halted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / 'a', **sizes)
    monkeypatch.undo()
    monkeypatch.setattr(dataset, 'SCENES', SCENES[:2])
    record = tmp_path / 'a/.partial/00_0000.json'
    before, text = record.stat().st_mtime_ns, record.read_text()
    (tmp_path / 'a/.partial/01_0000.json').unlink()
    made = []
    monkeypatch.setattr(dataset, 'make_frames', lambda *a: (made.append(a[2:]), make_frames(*a)))
    monkeypatch.setattr(dataset.shutil, 'rmtree', lambda *_, **__: None)
    make_dataset(tmp_path / 'a', **sizes)
    assert made == [(1, [0])] and record.stat().st_mtime_ns == before and record.read_text() == text
    assert json.loads((tmp_path / 'a/synthetic.json').read_text())['complete']
    assert (tmp_path / 'a' / VERSION / 'sample.json').is_file()


def test_missing_tables_are_named(tmp_path, run_tool):
    (tmp_path / 'sweeps').mkdir()
    with pytest.raises(SystemExit, match=r'error: .*LIDAR_TOP is missing: .*--root$'):
        run_tool('create_data', 'nuscenes', '--root', tmp_path, '--version', VERSION)
    with pytest.raises(ConfigError, match='nuScenes has'):
        create_nuscenes_infos(tmp_path, 'v2')


def test_interrupted_conversion_leaves_no_half_files(demo_root, monkeypatch):
    from peridot.datasets import create_infos

    before = {path: path.read_bytes() for path in demo_root.glob('*.pkl')}
    convert = create_infos.load_converter

    def interrupted(name):
        module = convert(name)
        if name == 'update_infos_to_v2':
            monkeypatch.setattr(module, 'update_nuscenes_infos', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        return module

    monkeypatch.setattr(create_infos, 'load_converter', interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_nuscenes_infos(demo_root, VERSION)
    assert {path: path.read_bytes() for path in demo_root.iterdir() if path.suffix == '.pkl'} == before
    assert not list(demo_root.glob('.unfinished*'))


@pytest.mark.filterwarnings('ignore')
def test_mmdet3d_evaluates_the_truth_perfectly(demo_root):
    """mmdet3d's own dataset class, loading and SegMetric, with the truth as prediction."""
    from mmdet3d.datasets import Seg3DDataset
    from mmdet3d.evaluation.metrics import SegMetric
    from mmdet3d.utils import register_all_modules

    class LidarSeg(Seg3DDataset):
        METAINFO = {
            'classes': CATEGORIES,
            'palette': [[i, i, i] for i in range(32)],
            'seg_valid_class_ids': tuple(range(32)),
            'seg_all_class_ids': tuple(range(32)),
        }

    register_all_modules(init_default_scope=False)
    annotations = {'with_bbox_3d': False, 'with_label_3d': False, 'with_seg_3d': True, 'seg_3d_dtype': 'np.uint8'}
    pipeline = [
        {'type': 'mmdet3d.LoadPointsFromFile', 'coord_type': 'LIDAR', 'load_dim': 5, 'use_dim': 4},
        {'type': 'mmdet3d.LoadAnnotations3D', **annotations},
        {'type': 'mmdet3d.PointSegClassMapping'},
    ]
    data = LidarSeg(
        data_root=str(demo_root),
        ann_file='nuscenes_infos_val.pkl',
        metainfo={'classes': CATEGORIES},
        data_prefix={'pts': 'samples/LIDAR_TOP', 'pts_semantic_mask': f'lidarseg/{VERSION}'},
        pipeline=pipeline,
    )
    metric = SegMetric()
    metric.dataset_meta = data.metainfo
    assert len(data) == 4
    for sample in data:
        truth = np.asarray(sample['pts_semantic_mask'])
        assert len(truth) == len(sample['points'].tensor)
        metric.results.append(({'pts_semantic_mask': truth}, {'pts_semantic_mask': truth.copy()}))
    scores = metric.compute_metrics(metric.results)
    held = [scores[name] for name in CATEGORIES if np.isfinite(scores[name])]
    assert len(held) >= 12 and held == pytest.approx([1.0] * len(held))
    metric.results[0][1]['pts_semantic_mask'][:] = 0
    assert metric.compute_metrics(metric.results)['acc'] < 0.9
