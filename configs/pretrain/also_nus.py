"""ALSO on nuScenes for MinkUNet34.

Paper: "ALSO: Automotive Lidar Self-supervision by Occupancy estimation", CVPR 2023.
Published settings: 600 of the 700 training scenes, batch 16 on 1 GPU, 200 epochs, AdamW 0.001, voxels of 0.1 m,
16384 points and 2048 queries per scan, intensity as input.

Differences from the released code:
- all 700 training scenes;
- the student is mmdet3d's MinkUNetBackbone on spconv: its stem has two 3x3x3 convolutions instead of one;
- the intensity goes into the network as it is in the files (0 to 255), as in this package's other configs; the
  decoder's target is in [0, 1];
- a random point of each voxel is kept (there: the first one); these voxels are counted from the scan's minimum (there:
  from zero, and those around zero are twice as wide);
- the student's voxels lie on a grid that is the same for all scans, a point belongs to the one around it (there:
  coordinates are rounded and counted from the scan's minimum: a grid that is shifted by up to a voxel);
- the 32 supports of a query are chosen at random (there: by a library, in the order of its search).
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_constant.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.sparse_scan, _base_.pack]
train_dataloader = dict(batch_size=16, drop_last=False, dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(
    student=dict(coordinates='cartesian', voxel_size=(0.1, 0.1, 0.1)),
    teacher=None,
    heads=_base_.heads,
    objectives=_base_.objectives,
)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=16)
