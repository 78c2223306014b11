"""The tables, read by nuScenes' own tools."""

import json
from pathlib import Path

import numpy as np
import pytest
from streets.taxonomy import CATEGORIES, SCENES

CAMERA_NAMES = ('FRONT', 'FRONT_RIGHT', 'FRONT_LEFT', 'BACK', 'BACK_LEFT', 'BACK_RIGHT')


def test_devkit_opens_it(nusc):
    assert {scene['name'] for scene in nusc.scene} == set(SCENES)
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
