"""Trunks of detectors, trained for a step by ALSO, exported, and loaded into the detector itself."""

import pytest
import torch
from mmdet3d.structures import LiDARPoints
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
from peridot.datasets.transforms import PackPaired, SampleOccupancyQueries
from peridot.hooks import export_backbone
from peridot.registry import MODELS
from peridot.weights import verify_loading

# each with its range cut down to 12.8 m
SECOND = """
_base_ = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=[0, -6.4, -3, 12.8, 6.4, 1])),
    middle_encoder=dict(sparse_shape=[41, 256, 256]),
)
"""
VOXEL = """
_base_ = 'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=[-6.4, -6.4, -5, 6.4, 6.4, 3])),
    pts_middle_encoder=dict(sparse_shape=[41, 128, 128]),
)
"""
PILLAR = """
_base_ = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
limits = [-6.4, -6.4, -5.0, 6.4, 6.4, 3.0]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=limits)),
    pts_voxel_encoder=dict(point_cloud_range=limits),
    pts_middle_encoder=dict(output_shape=(64, 64)),
)
"""


def sample(seed: int) -> dict:
    """A made-up scan with its queries, as the data loader gives it."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(600, 4, generator=generator) * torch.tensor([12.0, 12, 3, 1]) - torch.tensor([6.0, 6, 2.5, 0])
    results = dict(points=LiDARPoints(points, points_dim=4), lidar_path='scan.bin', token=str(seed))
    return PackPaired()(SampleOccupancyQueries(300)(results))


@pytest.mark.parametrize(
    'detector, tensors', [(SECOND, 156), (VOXEL, 210), (PILLAR, None)], ids=['second', 'voxel', 'pillar']
)
def test_every_trained_tensor_arrives_in_the_detector(detector, tensors, tmp_path):
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    (tmp_path / 'detector.py').write_text(detector)
    model = MODELS.build(
        dict(
            type='peridot.Pretrainer',
            student=dict(type='peridot.DetectorTrunk', detector=str(tmp_path / 'detector.py')),
            heads=dict(occupancy=dict(type='peridot.LatentHead', channels=8)),
            objectives=dict(occupancy=dict(type='peridot.OccupancyReconstruction')),
        )
    )
    before = {name: value.clone() for name, value in model.student.state_dict().items()}
    losses = model(**model.data_preprocessor(pseudo_collate([sample(0), sample(1)]), True), mode='loss')
    assert losses['occupancy/pairs'] > 1000
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (losses['occupancy/loss_occupancy'] + losses['occupancy/loss_intensity']).backward()
    optimizer.step()

    trained = model.student.state_dict()
    assert not [name for name, value in trained.items() if torch.equal(value, before[name])]
    path = tmp_path / 'backbone.pth'
    export_backbone(model.student, path, source='')
    downstream = MODELS.build(Config.fromfile(tmp_path / 'detector.py').model)
    load_checkpoint(downstream, str(path), map_location='cpu')
    arrived = downstream.state_dict()
    assert not [name for name, value in trained.items() if not torch.equal(value, arrived[name])]
    report = verify_loading(downstream, path)
    assert report.fraction == 1 and report.total == len(trained) == (tensors or len(trained))
