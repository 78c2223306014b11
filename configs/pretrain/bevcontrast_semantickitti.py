"""BEVContrast on SemanticKITTI for MinkUNet18.

Published settings: scans 0.7 s apart, sequences 00 to 07, 09, 10, batch 10 on each GPU (their number is not stated), 50
epochs, AdamW 0.001, voxels of 0.05 m, cells of 0.2 m, x, y, z and intensity as input.

Needs `poses.txt` and `times.txt` in the sequences (docs/frames.md).
Differences from the released code: those of bevcontrast_nus.py, except its scenes, its stem (here both have two
convolutions) and its cells, which divide the range.
"""

_base_ = [
    '../_base_/datasets/semantickitti_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/bevcontrast.py',
    '../_base_/schedules/adamw_cosine_50e.py',
    '../_base_/default_runtime.py',
]

# scans are 0.1 s apart; seven of them are 0.7 s where none is missing
frames = dict(keyframes=(7,), cameras=False, max_gap=0.25)
train_pipeline = [_base_.load_points, *_base_.shift_and_turn, _base_.pack]
train_dataloader = dict(batch_size=10, dataset=dict(cameras=[], frames=frames, pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(
    student=dict(
        coordinates='cartesian',
        voxel_size=(0.05, 0.05, 0.05),
        feature_columns=(0, 1, 2, 3),
        backbone=dict(in_channels=4, encoder_blocks=[2, 2, 2, 2]),
    ),
    teacher=None,
    heads=_base_.heads,
    objectives=dict(bev=dict(_base_.objectives.bev, cell=0.2)),
)

auto_scale_lr = dict(enable=False, base_batch_size=10)
