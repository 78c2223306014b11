"""Fine-tuning on SemanticKITTI as ALSO does, all 19130 training scans.

Published mIoU on sequence 08 (from BEVContrast's README, by the same authors): random 62.7, ALSO 63.6.

Differences from the released code: points are not sub-sampled to 80000, and the evaluation is on all original points
through their voxels; unlabeled points stay in the scans.
"""

_base_ = '../minkunet34_semantickitti/100pct.py'

load_from = 'work_dirs/also_semantickitti/backbone.pth'
augment = [
    dict(type='peridot.VoxelDownsample', voxel_size=0.05),
    dict(
        type='GlobalRotScaleTrans',
        rot_range=[-3.141592653589793, 3.141592653589793],
        scale_ratio_range=[1.0, 1.0],
    ),
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.0, flip_ratio_bev_vertical=0.5),
]
train_dataloader = dict(batch_size=2, dataset=dict(dataset=dict(pipeline=[*_base_.load, *augment, _base_.pack])))

model = dict(
    data_preprocessor=dict(
        coordinates='cartesian', voxel_size=(0.05, 0.05, 0.05), feature_columns=(0, 1, 2, 3), feature_offset=0.0
    ),
    backbone=dict(in_channels=4, encoder_blocks=[2, 2, 2, 2]),
    decode_head=dict(loss_lovasz=dict(type='mmdet3d.LovaszLoss', reduction='none', loss_weight=0.0)),
)

epochs = 30
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
# the published baseline has the same settings
random_init_options = dict(_delete_=True)

auto_scale_lr = dict(base_batch_size=2)
