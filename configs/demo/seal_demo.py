"""Seal scaled down to two CPU cores, see olivine_demo.py; what is inferred says seal_nus.py."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/seal.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    _base_.load_points,
    _base_.load_segments,
    *_base_.load_views,
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment,
]
train_dataloader = dict(
    dataset=dict(
        maps=dict(superpixels=_base_.superpixels, lidar_segments=_base_.lidar_segments),
        frames=_base_.frames,
        pipeline=train_pipeline,
    )
)

model = dict(heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
