"""ALSO on SemanticKITTI for MinkUNet18.

Published settings: sequences 00 to 07, 09, 10, batch 4 on 1 GPU, 50 epochs, AdamW 0.001, voxels of 0.05 m, 80000 points
and 4096 queries per scan, x, y, z and intensity as input.

Difference from the released code, in addition to those in also_nus.py: unlabeled points stay in the scans (there they
are removed before pre-training, which thus reads labels).
"""

_base_ = [
    '../_base_/datasets/semantickitti_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_constant.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.dense_scan, _base_.pack]
train_dataloader = dict(batch_size=4, drop_last=False, dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)
train_cfg = dict(max_epochs=50)

model = dict(
    student=dict(
        coordinates='cartesian',
        voxel_size=(0.05, 0.05, 0.05),
        feature_columns=(0, 1, 2, 3),
        backbone=dict(in_channels=4, encoder_blocks=[2, 2, 2, 2]),
    ),
    teacher=None,
    heads=_base_.heads,
    objectives=_base_.objectives,
)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=4)
