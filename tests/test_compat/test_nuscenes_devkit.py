"""nuScenes' detection metric on a part of the dataset, and without the files that it does not read."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.evaluation.metrics import NuScenesMetric
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.registry import DefaultScope
from peridot.compat.nuscenes_devkit import open_tables, read_tables, rows_of_samples
from peridot.errors import DataError

MINI = 'v1.0-mini'
CLASSES = ('car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle', 'pedestrian')
CLASSES += ('traffic_cone', 'barrier')


@pytest.fixture
def root(demo_root, tmp_path) -> Path:
    """Tables and one validation scene's infos; half of the label files; no maps and no images."""
    (tmp_path / MINI).symlink_to(demo_root / MINI)
    (tmp_path / 'lidarseg' / MINI).mkdir(parents=True)
    content = pickle.loads((demo_root / 'nuscenes_infos_val.pkl').read_bytes())
    scene = content['data_list'][0]['lidar_points']['lidar_path'].split('__')[0]
    content['data_list'] = [info for info in content['data_list'] if scene in info['lidar_points']['lidar_path']]
    assert len(content['data_list']) == 2
    (tmp_path / 'nuscenes_infos_val.pkl').write_bytes(pickle.dumps(content))
    return tmp_path


def evaluate(root: Path, infos: list[dict]) -> dict[str, float]:
    """Score the true boxes as predictions."""
    metric = NuScenesMetric(data_root=str(root), ann_file=str(root / 'nuscenes_infos_val.pkl'), metric='bbox')
    # as mmdet3d's dataset says, whatever the info file is of
    metric.dataset_meta = dict(classes=CLASSES, version='v1.0-trainval')
    for number, info in enumerate(infos):
        # those without returns are not asked for
        items = [item for item in info['instances'] if item['bbox_label_3d'] >= 0 and item['num_lidar_pts'] > 0]
        boxes = np.array([[*item['bbox_3d'], *item['velocity']] for item in items], np.float32)
        predicted = dict(
            bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=9, origin=(0.5, 0.5, 0.5)),
            scores_3d=torch.ones(len(items)),
            labels_3d=torch.tensor([item['bbox_label_3d'] for item in items]),
        )
        metric.process({}, [dict(pred_instances_3d=predicted, pred_instances={}, sample_idx=number)])
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        return metric.compute_metrics(metric.results)


def test_the_samples_of_the_info_file_are_evaluated(root):
    infos = pickle.loads((root / 'nuscenes_infos_val.pkl').read_bytes())['data_list']
    scores = evaluate(root, infos)
    assert scores['pred_instances_3d_NuScenes/car_AP_dist_2.0'] == 1
    assert scores['pred_instances_3d_NuScenes/mAP'] == pytest.approx(1)


def test_other_predictions_are_one_clear_line(root):
    infos = pickle.loads((root / 'nuscenes_infos_val.pkl').read_bytes())['data_list']
    with pytest.raises(
        DataError, match=r'nuScenes cannot evaluate .*infos_val\.pkl .*predict all of its samples'
    ) as error:
        evaluate(root, infos[:1])
    assert '\n' not in str(error.value)


def test_tables_of_scenes_answer_as_the_whole_ones(demo_root):
    rows = read_tables(demo_root, MINI)
    whole = open_tables(demo_root, MINI, rows)
    chosen = rows['sample'][0]
    # what the devkit adds to its rows
    rows = json.loads(json.dumps(rows))
    part = open_tables(demo_root, MINI, rows_of_samples(rows, {chosen['token']}))
    assert [row['token'] for row in part.scene] == [chosen['scene_token']] and len(whole.scene) == 10
    assert [row['token'] for row in part.sample] == [
        row['token'] for row in whole.sample if row['scene_token'] == chosen['scene_token']
    ]
    for sample in part.sample:
        assert sample['anns'] and whole.get('sample', sample['token']) == sample
        for token in sample['anns']:
            np.testing.assert_array_equal(part.box_velocity(token), whole.box_velocity(token))
