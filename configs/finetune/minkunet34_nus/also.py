"""Fine-tuning on nuScenes lidarseg as ALSO does, all 700 training scenes.

One learning rate for backbone and head, AdamW, cosine, cross-entropy alone, the voxels and augmentation of ALSO's
pre-training. ALSO takes 600 of the scenes (also-100pct.py).

Differences from the released code: points are not sub-sampled to 16384, and the evaluation is on all original points
through their voxels (there: sub-sampled points, copied to the nearest originals). Voxels and the intensity of 0 to 255
are those of configs/pretrain/also_nus.py, which names their differences. The head has no output for unlabeled points.
"""

_base_ = './100pct.py'

load_from = 'work_dirs/also_nus/backbone.pth'
augment = [
    dict(type='peridot.VoxelDownsample', voxel_size=0.1),
    dict(
        type='GlobalRotScaleTrans',
        rot_range=[-3.141592653589793, 3.141592653589793],
        scale_ratio_range=[1.0, 1.0],
    ),
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.0, flip_ratio_bev_vertical=0.5),
]
train_dataloader = dict(batch_size=8, dataset=dict(dataset=dict(pipeline=[*_base_.load, *augment, _base_.pack])))

model = dict(
    data_preprocessor=dict(coordinates='cartesian', voxel_size=(0.1, 0.1, 0.1)),
    decode_head=dict(loss_lovasz=dict(type='mmdet3d.LovaszLoss', reduction='none', loss_weight=0.0)),
)

epochs = 30
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
# the published baseline has the same settings
random_init_options = dict(_delete_=True)

auto_scale_lr = dict(base_batch_size=8)
