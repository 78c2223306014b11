"""The written dataset: nuScenes' own tools, mmdet3d's converter and both evaluations run on it."""

import json
import pickle
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from peridot.datasets.create_infos import create_nuscenes_infos
from peridot.errors import ConfigError, DataError
from PIL import Image
from streets import dataset, make_dataset
from streets.formats import make_frames
from streets.frame import Settings
from streets.taxonomy import CATEGORIES, SCENES, TRAIN_SCENES, VAL_SCENES

REPO = Path(__file__).resolve().parents[2]
VERSION = 'v1.0-mini'


@pytest.fixture(scope='module')
def nusc(demo_root):
    return NuScenes(version=VERSION, dataroot=str(demo_root), verbose=False)


def infos(root, split):
    with open(root / f'nuscenes_infos_{split}.pkl', 'rb') as file:
        return pickle.load(file)


def test_devkit_opens_it(nusc):
    from nuscenes.utils import splits

    assert {scene['name'] for scene in nusc.scene} == set(SCENES)
    assert set(TRAIN_SCENES) == set(splits.mini_train) and set(VAL_SCENES) == set(splits.mini_val)
    assert [nusc.lidarseg_idx2name_mapping[i] for i in range(32)] == list(nusc.colormap) == list(CATEGORIES)
    for record in nusc.sample_data:
        assert Path(nusc.dataroot, record['filename']).stat().st_size > 0
    assert len(nusc.attribute) == 8 and len(nusc.visibility) == 4


def test_devkits_own_tests_pass(demo_root, monkeypatch):
    from nuscenes.tests.test_lidarseg import TestNuScenesLidarseg

    monkeypatch.setenv('NUSCENES', str(demo_root))
    test = TestNuScenesLidarseg()
    test.setUp()
    test.test_num_classes()
    test.test_num_colors()
    test.test_classes()


def test_chains_are_complete(nusc):
    for scene in nusc.scene:
        token, count = scene['first_sample_token'], 0
        while token:
            sample, count = nusc.get('sample', token), count + 1
            assert set(sample['data']) == {'LIDAR_TOP', *(f'CAM_{n}' for n in CAMERA_NAMES)}
            last, token = token, sample['next']
        assert count == scene['nbr_samples'] and last == scene['last_sample_token']
    for record in nusc.sample_data:
        assert record['token'] == record['ego_pose_token']
        assert nusc.get('ego_pose', record['ego_pose_token'])['timestamp'] == record['timestamp']
        if record['next']:
            after = nusc.get('sample_data', record['next'])
            assert after['prev'] == record['token'] and after['timestamp'] > record['timestamp']
            assert after['channel'] == record['channel']
    for instance in nusc.instance:
        token, count = instance['first_annotation_token'], 0
        while token:
            annotation, count = nusc.get('sample_annotation', token), count + 1
            assert annotation['instance_token'] == instance['token']
            last, token = token, annotation['next']
        assert count == instance['nbr_annotations'] and last == instance['last_annotation_token']


CAMERA_NAMES = ('FRONT', 'FRONT_RIGHT', 'FRONT_LEFT', 'BACK', 'BACK_LEFT', 'BACK_RIGHT')


def test_attributes_and_velocities(nusc):
    moving = 0
    for annotation in nusc.sample_annotation:
        names = [nusc.get('attribute', token)['name'] for token in annotation['attribute_tokens']]
        kind = annotation['category_name'].split('.')[0]
        cycle = annotation['category_name'] in ('vehicle.bicycle', 'vehicle.motorcycle')
        prefix = 'cycle' if cycle else {'vehicle': 'vehicle', 'human': 'pedestrian'}.get(kind)
        assert [name.split('.')[0] for name in names] == ([prefix] if prefix else [])
        speed = np.linalg.norm(nusc.box_velocity(annotation['token'])[:2])
        if names and names[0] in ('vehicle.parked', 'vehicle.stopped', 'pedestrian.standing', 'cycle.without_rider'):
            assert not speed > 1e-6
        if names and names[0] in ('vehicle.moving', 'pedestrian.moving') and np.isfinite(speed):
            assert speed > 0.5
            moving += 1
    assert moving > 50


def test_sensors_have_their_own_clocks_and_poses(nusc):
    scene = next(s for s in nusc.scene if s['name'] == 'scene-0103')
    sample = nusc.get('sample', scene['first_sample_token'])
    records = [nusc.get('sample_data', token) for token in sample['data'].values()]
    assert len({r['timestamp'] for r in records}) == 7
    places = {tuple(nusc.get('ego_pose', r['ego_pose_token'])['translation']) for r in records}
    assert len(places) == 7


def test_frame_chain_puts_static_things_at_one_place(nusc):
    """Houses and plants seen from two keyframes coincide in the global frame, and do not without the ego motion."""
    from scipy.spatial import cKDTree

    static = [CATEGORIES.index(name) for name in ('static.manmade', 'static.vegetation')]
    for scene in nusc.scene:
        first = nusc.get('sample', scene['first_sample_token'])
        clouds, places = [], []
        for sample in (first, nusc.get('sample', first['next'])):
            token = sample['data']['LIDAR_TOP']
            labels = np.fromfile(Path(nusc.dataroot, nusc.get('lidarseg', token)['filename']), np.uint8)
            clouds.append(global_points(nusc, token)[np.isin(labels, static), :2])
            pose = nusc.get('sample_data', token)['ego_pose_token']
            places.append(np.array(nusc.get('ego_pose', pose)['translation'][:2]))
        motion = places[1] - places[0]
        assert np.linalg.norm(motion) > 0.5
        tree = cKDTree(clouds[0])
        apart, unmoved = (np.median(tree.query(cloud)[0]) for cloud in (clouds[1], clouds[1] - motion))
        assert apart < 0.2 and apart < 0.9 * unmoved, scene['name']


def global_points(nusc, token):
    from pyquaternion import Quaternion

    record = nusc.get('sample_data', token)
    cloud = LidarPointCloud.from_file(str(Path(nusc.dataroot, record['filename'])))
    for table, key in (('calibrated_sensor', 'calibrated_sensor_token'), ('ego_pose', 'ego_pose_token')):
        pose = nusc.get(table, record[key])
        cloud.rotate(Quaternion(pose['rotation']).rotation_matrix)
        cloud.translate(np.array(pose['translation']))
    return cloud.points[:3].T


def test_boxes_count_their_points(nusc):
    sample = nusc.sample[0]
    path, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
    points = LidarPointCloud.from_file(path).points[:3]
    for found in boxes:
        annotation = nusc.get('sample_annotation', found.token)
        assert abs(points_in_box(found, points).sum() - annotation['num_lidar_pts']) <= 2
    assert sum(nusc.get('sample_annotation', b.token)['num_lidar_pts'] > 0 for b in boxes) > 10


def test_map_mask_knows_the_road(nusc):
    for scene in nusc.scene:
        log = nusc.get('log', scene['log_token'])
        mask = nusc.get('map', log['map_token'])['mask']
        sample = nusc.get('sample', scene['first_sample_token'])
        record = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
        x, y, _ = nusc.get('ego_pose', record['ego_pose_token'])['translation']
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(-1.0, -1.0).any()


def test_infos(demo_root, nusc):
    train, val = infos(demo_root, 'train'), infos(demo_root, 'val')
    assert len(train['data_list']) == 16 and len(val['data_list']) == 4
    for info in train['data_list'] + val['data_list']:
        assert set(info['images']) == {f'CAM_{name}' for name in CAMERA_NAMES}
        for name, camera in info['images'].items():
            assert np.array(camera['lidar2cam']).shape == (4, 4) and np.array(camera['cam2img']).shape == (3, 3)
            with Image.open(demo_root / 'samples' / name / camera['img_path']) as image:
                assert image.size == (352, 198)
        labels = demo_root / 'lidarseg' / VERSION / info['pts_semantic_mask_path']
        points = demo_root / 'samples/LIDAR_TOP' / info['lidar_points']['lidar_path']
        assert points.stat().st_size == 20 * labels.stat().st_size
        assert info['lidar_points']['num_pts_feats'] == 5 and info['instances']
    assert len(val['data_list'][1]['lidar_sweeps']) == 3


def test_equal_seeds_give_equal_bytes(tmp_path, demo_root):
    settings = Settings(seed=0, keyframes=2, sweeps=1, image_size=(198, 352))
    make_frames(tmp_path, settings, 6, [1])
    files = [p for p in tmp_path.rglob('*') if p.is_file() and p.suffix in ('.jpg', '.bin')]
    assert len(files) == 6 + 2 + 1
    for path in files:
        assert path.read_bytes() == (demo_root / path.relative_to(tmp_path)).read_bytes(), path
    other = Settings(seed=1, keyframes=2, sweeps=0, image_size=(64, 96))
    make_frames(tmp_path / 'other', other, 6, [1])
    assert not any(
        p.read_bytes() == q.read_bytes()
        for p in tmp_path.glob('other/lidarseg/*/*')
        for q in files
        if q.suffix == '.bin'
    )


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


def test_missing_tables_are_named(tmp_path, monkeypatch):
    command = ['create_data.py', 'nuscenes', '--root', str(tmp_path), '--version', VERSION]
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit, match=r'error: .*LIDAR_TOP is missing: .*--root$'):
        runpy.run_path(str(REPO / 'tools/create_data.py'), run_name='__main__')
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
def test_devkits_detection_evaluation_of_the_truth(nusc, tmp_path):
    """Ground truth handed in as prediction scores (nearly) one on every class that the val scenes hold."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.constants import DETECTION_NAMES
    from nuscenes.eval.detection.evaluate import DetectionEval
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.splits import mini_val

    results, held = {}, dict.fromkeys(DETECTION_NAMES, 0)
    for sample in nusc.sample:
        if nusc.get('scene', sample['scene_token'])['name'] in mini_val:
            found = [truth_as_prediction(nusc, token) for token in sample['anns']]
            results[sample['token']] = [entry for entry in found if entry]
    path = tmp_path / 'results.json'
    meta = {name: name == 'use_lidar' for name in ('use_camera', 'use_lidar', 'use_radar', 'use_map', 'use_external')}
    path.write_text(json.dumps({'meta': meta, 'results': results}))
    config = config_factory('detection_cvpr_2019')
    evaluation = DetectionEval(nusc, config, str(path), 'mini_val', str(tmp_path), verbose=False)
    for boxes in evaluation.gt_boxes.boxes.values():
        for entry in boxes:
            held[entry.detection_name] += 1
    metrics = evaluation.evaluate()[0]
    scored = [name for name, count in held.items() if count]
    assert category_to_detection_name('vehicle.car') in scored and len(scored) >= 7
    for name in scored:
        assert np.mean(list(metrics._label_aps[name].values())) > 0.9, name


def truth_as_prediction(nusc, token):
    from nuscenes.eval.detection.utils import category_to_detection_name

    annotation = nusc.get('sample_annotation', token)
    name = category_to_detection_name(annotation['category_name'])
    if name is None or not annotation['num_lidar_pts']:
        return None
    attributes = [nusc.get('attribute', t)['name'] for t in annotation['attribute_tokens']]
    return {
        'sample_token': annotation['sample_token'],
        'translation': annotation['translation'],
        'size': annotation['size'],
        'rotation': annotation['rotation'],
        'velocity': nusc.box_velocity(token)[:2].tolist(),
        'detection_name': name,
        'detection_score': 0.5,
        'attribute_name': attributes[0] if attributes else '',
    }


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
