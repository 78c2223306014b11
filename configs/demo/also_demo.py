"""ALSO scaled down to two CPU cores: synthetic streets, an 18-layer student, no camera."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.sparse_scan, _base_.pack]
train_dataloader = dict(dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

default_hooks = dict(logger=dict(interval=10))
