"""A few keyframes of made-up boxes on a plane, with poses and times, without images."""

import mmengine
import numpy as np
import pytest
from mmengine.config import Config
from tiny_drives import KEYFRAMES, pose, street

LOAD = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4)


@pytest.fixture
def drives(tmp_path):
    """A folder with points and infos; files have the points of `street` in the lidar's frame."""
    infos = []
    for number, (drive, time) in enumerate(KEYFRAMES):
        rng, matrix = np.random.default_rng(number), pose(number)
        points = (street(rng) - matrix[:3, 3]) @ matrix[:3, :3]
        name = f'{drive}__LIDAR_TOP__{number}.bin'
        rows = np.concatenate([points, rng.uniform(0, 255, (len(points), 1)), np.zeros((len(points), 1))], 1)
        (tmp_path / 'root/points').mkdir(parents=True, exist_ok=True)
        rows.astype(np.float32).tofile(tmp_path / 'root/points' / name)
        lidar = dict(lidar_path=name, num_pts_feats=5)
        infos.append(dict(token=name, timestamp=time, ego2global=matrix.tolist(), lidar_points=lidar, images={}))
    content = dict(metainfo=dict(dataset='nuscenes', info_version='1.1'), data_list=infos)
    mmengine.dump(content, tmp_path / 'root/infos.pkl')
    return tmp_path / 'root'


@pytest.fixture
def config(drives):
    """A training set that reads segments of each keyframe and the next one."""
    dataset = dict(
        type='peridot.PairedDataset',
        data_root=str(drives),
        ann_file='infos.pkl',
        data_prefix=dict(pts='points'),
        cameras=[],
        frames=dict(keyframes=(1,), cameras=False),
        maps=dict(lidar_segments='lidar_segments/hdbscan'),
        pipeline=[LOAD, dict(type='peridot.LoadLidarSegments'), dict(type='peridot.PackPaired')],
    )
    path = drives / 'config.py'
    Config(dict(train_dataloader=dict(dataset=dataset), default_scope='mmdet3d')).dump(path)
    return Config.fromfile(path)
