"""mmdet3d's segmentor on WaffleIron 48x768, fine-tuned as ScaLR does.

Batch normalization and a linear layer that starts at zero replace the distillation head, cross-entropy + Lovasz,
AdamW with a learning rate that decays from the head to the embedding, stochastic depth; the features are rotated and
scaled separately from the geometry. No test-time augmentation, evaluation on all original points, last epoch.

After ScaLR+: model.backbone.activation=gelu, optim_wrapper.optimizer.lr=1e-4, and decay 0.99 for all fractions.
"""

_base_ = [
    'mmdet3d::minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py',
    './hooks.py',
]

# weights of a pre-training run; None starts from random ones
load_from = 'work_dirs/scalr_wi48x768_nus-kitti-pandaset/backbone.pth'

# x, y, z in meters; the cells of 0.5 m are those of pre-training
point_cloud_range = (-64, -64, -8, 64, 64, 8)
model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='peridot.TokenSegPreprocessor',
        point_cloud_range=point_cloud_range,
        voxel_size=0.1,
        feature_columns=(3, 4, 5, 6, 7),
    ),
    backbone=dict(
        _delete_=True,
        type='peridot.WaffleIron',
        in_channels=5,
        channels=768,
        depth=48,
        norm='layernorm',
        activation='relu',
        drop_path=0.2,
        point_cloud_range=point_cloud_range,
        grid_size=(256, 256, 32),
        num_neighbors=16,
    ),
    decode_head=dict(type='peridot.PointSegHead', channels=768, batch_norm=True),
)

augment = [
    dict(type='peridot.VoxelDownsample', voxel_size=0.1),
    dict(type='peridot.LimitPoints', max_points=20000),
    dict(
        type='GlobalRotScaleTrans',
        rot_range=[-3.141592653589793, 3.141592653589793],
        scale_ratio_range=[1.0, 1.0],
    ),
    dict(type='peridot.AugmentPointFeatures', scale=(0.9, 1.1)),
    dict(type='peridot.RandomFlipAxis', prob=2 / 3),
]
pack = dict(type='Pack3DDetInputs', keys=['points', 'pts_semantic_mask'])

train_dataloader = dict(batch_size=8)
val_evaluator = dict(type='peridot.PointSegMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.0),
    constructor='peridot.LayerDecay',
    paramwise_cfg=dict(decay_rate=0.99),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=23, begin=2, end=25, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
# for 1 and 10 % of the labels: 45 epochs, 4 of them warm-up
few_labels_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=4, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=41, begin=4, end=45, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
# for linear probing: 20 epochs, 2 of them warm-up
probe_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=18, begin=2, end=20, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=25, val_interval=5)
# a network without pre-training: settings of WaffleIron alone, which tools/benchmark.py sets for it
random_init_options = {
    'optim_wrapper.optimizer.lr': 1e-3,
    'optim_wrapper.optimizer.weight_decay': 3e-3,
    'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
    'optim_wrapper.paramwise_cfg': None,
}

# mmengine deletes the older one before it saves the next: a killed run continues from the other
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
auto_scale_lr = dict(enable=False, base_batch_size=8)
