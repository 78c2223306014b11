"""ALSO on KITTI's object benchmark for the trunk of SECOND and PV-RCNN: encoder, 2D backbone and neck.

Published settings: 3712 training scans, batch 8 on 1 GPU, 500 epochs, AdamW 0.001, one point per 0.05 m voxel,
4096 queries per scan, x, y, z and intensity as input. The range is the detector's, in front of the lidar; random
rotations bring every sector into it.

Difference from the released code: cells of the bird's-eye view lie at their centers (there: spread from border to
border of the range, off by up to half a cell).
"""

_base_ = [
    '../_base_/datasets/kitti_paired.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_constant.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.dense_scan, _base_.pack]
train_dataloader = dict(batch_size=8, drop_last=False, dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=[_base_.load_points, _base_.pack])
train_cfg = dict(max_epochs=500)

model = dict(
    type='peridot.Pretrainer',
    student=dict(
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
        read_after='neck',
    ),
    heads=_base_.heads,
    objectives=_base_.objectives,
)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=8)
