"""Training steps of the networks that pre-trained weights go into, on made-up scans with labels and boxes."""

from __future__ import annotations

from functools import partial

import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes, PointData
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor

from peridot.gpu_check.checks import Checks, LeftOut, Setup
from peridot.gpu_check.clouds import lidar_points
from peridot.gpu_check.configs import shrink
from peridot.gpu_check.steps import measure_steps
from peridot.registry import MODELS

CONFIGS = {
    'MinkUNet34': 'finetune/minkunet34_nus/100pct.py',
    'Res16UNet34C': 'finetune/res16unet34_nus/100pct.py',
    'CenterPoint, voxels': 'finetune/centerpoint_voxel01_nus/100pct.py',
    'CenterPoint, pillars': 'finetune/centerpoint_pillar02_nus/100pct.py',
    'SECOND': 'finetune/second_kitti/100pct.py',
    'PV-RCNN': 'mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py',
}
# without operators of mmcv for the CPU
GPU_ONLY = ('PV-RCNN',)
# objects of a scan, points of each, and length, width and height of all
OBJECTS, INSIDE, EXTENT = 12, 60, (4.0, 1.8, 1.6)


def checks(setup: Setup) -> Checks:
    """A step of every network in float32."""
    for name in CONFIGS:
        yield name, partial(train, name, setup)


def train(name: str, setup: Setup) -> dict:
    """Make steps with a network.

    Returns:
        What `measure_steps` gives, and `batch`.

    Raises:
        LeftOut: The network needs a GPU.
        Differs: The loss is not finite.
    """
    if name in GPU_ONLY and not setup.on_gpu:
        raise LeftOut('mmcv has the operators of this detector for GPUs only')
    torch.manual_seed(0)
    config = read_config(CONFIGS[name], setup)
    model = MODELS.build(config.model).to(setup.device).train()
    size = 1 if setup.small else config.train_dataloader.batch_size
    return dict(batch=size) | measure_steps(model, made_up_batch(config, size, setup.small), config, setup.device)


def read_config(path: str, setup: Setup) -> Config:
    """A config of the repository or of mmdet3d, with narrow networks if small."""
    mmdet3ds = '::' in path
    config = Config.fromstring(f'_base_ = {path!r}', '.py') if mmdet3ds else Config.fromfile(setup.configs / path)
    if setup.small:
        shrink(config.model, setup.folder)
    return config


def made_up_batch(config: Config, size: int, small: bool) -> dict:
    """A batch of scans with the classes of points, or with boxes, whichever the model learns."""
    count = 1500 if small else 34_688
    if 'decode_head' in config.model:
        samples = [
            labeled(lidar_points(count, seed=seed), config.model.decode_head.num_classes) for seed in range(size)
        ]
    else:
        samples = [with_boxes(config, count, seed) for seed in range(size)]
    points, annotated = zip(*samples)
    return dict(inputs=dict(points=list(points)), data_samples=list(annotated))


def labeled(points: Tensor, classes: int) -> tuple[Tensor, Det3DDataSample]:
    """Points, and their classes: sectors around the sensor."""
    angle = torch.atan2(points[:, 1], points[:, 0]) / (2 * torch.pi) + 0.5
    sample = Det3DDataSample()
    sample.gt_pts_seg = PointData(pts_semantic_mask=(angle * classes).long().clamp(max=classes - 1))
    return points, sample


def with_boxes(config: Config, count: int, seed: int) -> tuple[Tensor, Det3DDataSample]:
    """Points, some of them in boxes within the detector's range, and the boxes."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(config.model.data_preprocessor.voxel_layer.point_cloud_range).view(2, 3)
    middle = torch.rand(OBJECTS, 3, generator=generator) * (high - low) * 0.8 + low + (high - low) * 0.1
    middle[:, 2] = -1.0
    extent = torch.tensor(EXTENT)
    yaw = torch.rand(OBJECTS, 1, generator=generator) * torch.pi
    # nuScenes' boxes have a velocity
    moving = 'vel' in config.model.get('pts_bbox_head', {}).get('common_heads', {})
    boxes = torch.cat([middle, extent.expand(OBJECTS, 3), yaw, torch.zeros(OBJECTS, 2 * moving)], 1)
    # upright and narrow enough to lie inside whatever the yaw
    inside = (torch.rand(OBJECTS, INSIDE, 3, generator=generator) - 0.5) * extent.min() + middle[:, None]
    inside[..., 2] += extent[2] / 2
    points = lidar_points(count, 5, seed=seed)
    points = torch.cat([points, torch.cat([inside.flatten(0, 1), torch.zeros(OBJECTS * INSIDE, 2)], 1)])
    sample = Det3DDataSample()
    labels = torch.arange(OBJECTS) % len(config.class_names)
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1]), labels_3d=labels
    )
    return points[:, : columns_of(config)].contiguous(), sample


def columns_of(config: Config) -> int:
    """Columns of a point that a detector reads."""
    encoder = config.model.get('pts_voxel_encoder') or config.model.voxel_encoder
    return encoder.get('num_features') or encoder.get('in_channels', 4)
