"""mmdet3d's MinkUNet34, fine-tuned as SLidR and OLIVINE do.

Their voxels and input feature (those of pre-training), cross-entropy + Lovasz, SGD with a separate learning rate
for the new head, 100 epochs; no test-time augmentation, evaluation on all original points.
"""

_base_ = [
    'mmdet3d::minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py',
    './hooks.py',
]

# weights of a pre-training run; None starts from random ones
load_from = 'work_dirs/olivine_nus/backbone.pth'

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='peridot.SegPreprocessor',
        # (rho in meters, phi in degrees, z in meters)
        coordinates='cylindrical',
        voxel_size=(0.1, 1.0, 0.1),
        # intensity
        feature_columns=(3,),
    ),
    backbone=dict(in_channels=1),
    decode_head=dict(type='peridot.PointSegHead'),
)

augment = [
    dict(type='GlobalRotScaleTrans', rot_range=[0.0, 6.283185307179586], scale_ratio_range=[1.0, 1.0]),
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
]
pack = dict(type='Pack3DDetInputs', keys=['points', 'pts_semantic_mask'])

val_evaluator = dict(type='peridot.PointSegMetric')
test_evaluator = val_evaluator

epochs = 100
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, dampening=0.1, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=100.0))),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs, val_interval=10)
# a network without pre-training was trained with one learning rate: tools/benchmark.py sets these for it
random_init_options = {'optim_wrapper.optimizer.lr': 0.05, 'optim_wrapper.paramwise_cfg': None}

# mmengine deletes the older one before it saves the next: a killed run continues from the other
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
