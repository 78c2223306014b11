"""Two real KITTI frames through create_data, weak labels, pre-training and mmdet3d's own dataset."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.datasets import KittiDataset
from mmengine.registry import DefaultScope
from peridot.datasets.create_infos import create_gt_database
from peridot.datasets.create_infos_kitti import create_kitti_infos

REPO = Path(__file__).resolve().parents[2]
FRAMES = Path(os.environ.get('PERIDOT_KITTI', REPO.parent / 'shared' / 'data' / 'kitti'))

CONFIG = """
_base_ = [
    '{repo}/configs/_base_/datasets/kitti_paired.py',
    '{repo}/configs/_base_/models/minkunet18_lite0.py',
    '{repo}/configs/_base_/methods/olivine.py',
    '{repo}/configs/_base_/schedules/adamw_cosine_10e.py',
    '{repo}/configs/_base_/default_runtime.py',
]
train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadPairLabels'),
    *_base_.augment,
]
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
maps = dict(labels='weak_labels/kmeans')
train_dataloader.update(dataset=dict(ann_file='kitti_infos_trainval.pkl', maps=maps, pipeline=train_pipeline))
model = dict(
    heads=_base_.heads,
    objectives=dict(
        infonce=_base_.objectives.infonce,
        weak=_base_.objectives.weak,
        vmf=dict(_base_.objectives.vmf, num_classes=16),
    ),
)
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture
def kitti_root(tmp_path) -> Path:
    if not FRAMES.is_dir():
        pytest.skip(f'{FRAMES} is absent: set PERIDOT_KITTI to a KITTI object folder with frames 000000 and 000001')
    root = tmp_path / 'kitti'
    for folder in ('velodyne', 'image_2', 'calib', 'label_2'):
        (root / 'training').mkdir(parents=True, exist_ok=True)
        (root / 'training' / folder).symlink_to(FRAMES.resolve() / 'training' / folder)
    (root / 'ImageSets').mkdir()
    (root / 'ImageSets/train.txt').write_text('000000\n')
    (root / 'ImageSets/val.txt').write_text('000001\n')
    create_kitti_infos(root)
    create_gt_database(root, 'kitti')
    return root


def test_projected_points_lie_on_their_objects(kitti_root):
    """Points inside a labeled 3D box project into the 2D box an annotator drew around the object."""
    from peridot.datasets.projection import project_to_cameras

    info = pickle.loads((kitti_root / 'kitti_infos_train.pkl').read_bytes())['data_list'][0]
    points = np.fromfile(kitti_root / 'training/velodyne/000000.bin', np.float32).reshape(-1, 4)
    camera = {key: np.array(info['images']['CAM2'][key]) for key in ('lidar2cam', 'cam2img')}
    pairs = project_to_cameras(
        points[:, :3], camera['lidar2cam'][None], camera['cam2img'][None], np.array([[370, 1224]])
    )
    fields = (kitti_root / 'training/label_2/000000.txt').read_text().splitlines()[0].split()
    assert fields[0] == 'Pedestrian'
    left, top, right, bottom, height, width, length, x, y, z, yaw = map(float, fields[4:15])
    in_camera = points[:, :3] @ camera['lidar2cam'][:3, :3].T + camera['lidar2cam'][:3, 3] - (x, y, z)
    along = np.cos(yaw) * in_camera[:, 0] - np.sin(yaw) * in_camera[:, 2]
    across = np.sin(yaw) * in_camera[:, 0] + np.cos(yaw) * in_camera[:, 2]
    inside = (abs(along) < length / 2) & (abs(across) < width / 2) & (in_camera[:, 1] < 0) & (in_camera[:, 1] > -height)
    assert inside.sum() > 100
    row, col = pairs.position[inside[pairs.point.numpy()]].numpy().T
    assert len(row) == inside.sum()
    assert ((col > left - 3) & (col < right + 3) & (row > top - 3) & (row < bottom + 3)).mean() > 0.99


def test_mmdet3d_reads_boxes_and_objects(kitti_root):
    prefix = dict(pts='training/velodyne_reduced')
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        train, val = (
            KittiDataset(str(kitti_root), f'kitti_infos_{s}.pkl', data_prefix=prefix) for s in ('train', 'val')
        )
    assert [train.metainfo['classes'][i] for i in train.get_data_info(0)['ann_info']['gt_labels_3d']] == ['Pedestrian']
    names = [val.metainfo['classes'][i] for i in val.get_data_info(0)['ann_info']['gt_labels_3d']]
    assert names == ['Truck', 'Car', 'Cyclist']
    infos = pickle.loads((kitti_root / 'kitti_dbinfos_train.pkl').read_bytes())
    assert {name: len(items) for name, items in infos.items()} == {'Pedestrian': 1}
    assert infos['Pedestrian'][0]['num_points_in_gt'] > 100


@pytest.mark.slow
def test_olivine_trains_on_real_frames(kitti_root, tmp_path, run_tool):
    config = tmp_path / 'olivine_kitti.py'
    config.write_text(CONFIG.format(repo=REPO, root=kitti_root))
    data = ['--data-root', kitti_root]
    run_tool('make_weak_labels', config, '--workers', 1, *data)
    run_tool('train', config, '--work-dir', tmp_path / 'work', *data)
    lines = next(tmp_path.glob('work/*/vis_data/scalars.json')).read_text().splitlines()
    losses = [line['loss'] for line in map(json.loads, lines) if 'loss' in line]
    assert len(losses) >= 2 and all(loss > 0 for loss in losses)
    assert list((tmp_path / 'work' / 'pictures').glob('*.png'))
