"""BEVContrast on nuScenes for MinkUNet34.

Paper: "BEVContrast: Self-Supervision in BEV Space for Automotive Lidar Point Clouds", 3DV 2024.
Published settings: keyframes 1.0 s apart, 600 of the 700 training scenes, batch 24 on each GPU (their number is not
stated), 50 epochs, AdamW 0.001, voxels of 0.1 m, cells of 0.6 m (the paper says 0.3 m), intensity as input.

Differences from the released code:
- all 700 training scenes;
- the student is mmdet3d's MinkUNetBackbone on spconv: its stem has two 3x3x3 convolutions instead of one;
- the intensity goes into the network as it is in the files (0 to 255), as in this package's other configs;
- the student's voxels lie on a grid that is the same for all scans, a point belongs to the one around it (there:
  coordinates are rounded and counted from the scan's minimum);
- cells are moved by their true places (there: as if they filled the range, up to 0.45 m off; `geometry='published'` of
  the objective does the same);
- the last two keyframes of a scene have no partner; they are read by the network, but have no part in the loss (there:
  they are left out).
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/bevcontrast.py',
    '../_base_/schedules/adamw_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.shift_and_turn, _base_.pack]
train_dataloader = dict(batch_size=24, dataset=dict(cameras=[], frames=_base_.later_frame, pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(
    student=dict(coordinates='cartesian', voxel_size=(0.1, 0.1, 0.1)),
    teacher=None,
    heads=_base_.heads,
    objectives=_base_.objectives,
)

auto_scale_lr = dict(enable=False, base_batch_size=24)
