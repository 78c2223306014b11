"""A tiny student and the networks of mmdet3d that take its weights."""

import torch
from mmengine.config import Config
from peridot.models.students import DetectorTrunk
from peridot.registry import MODELS

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
CENTERPOINT = 'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
SETTINGS = dict(voxel_size=(0.5, 0.5, 0.5), coordinates='cartesian', feature_columns=(3,))


def backbone(base: int = 4, columns: int = 1, **kwargs) -> dict:
    """Config of a MinkUNet with a few channels."""
    return dict(
        type='MinkUNetBackbone',
        in_channels=columns,
        base_channels=base,
        encoder_channels=[4, 4, 8, 8],
        decoder_channels=[8, 8, 8, 8],
        encoder_blocks=[1, 1, 1, 1],
        decoder_blocks=[1, 1, 1, 1],
        sparseconv_backend='spconv',
        **kwargs,
    )


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every tensor unlike that of a new network, counters of batch normalization included."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        value.copy_(torch.rand(value.shape, generator=generator) * 9 + 1)
    return network


def segmentor(network: dict | None = None, **settings) -> torch.nn.Module:
    """mmdet3d's MinkUNet on the student's voxels."""
    return MODELS.build(
        dict(
            type='MinkUNet',
            data_preprocessor=dict(type='peridot.SegPreprocessor', **{**SETTINGS, **settings}),
            backbone=network or backbone(),
            decode_head=dict(type='peridot.PointSegHead', channels=8, num_classes=3, ignore_index=3),
        )
    )


def trunk_and_detector(path: str) -> tuple[DetectorTrunk, torch.nn.Module]:
    """A detector's trunk as student, random in every tensor, and the detector."""
    return randomize(DetectorTrunk(path)), MODELS.build(Config.fromstring(f'_base_ = {path!r}', '.py').model)
