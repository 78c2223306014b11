"""The ceiling of the demo: the student of olivine_demo.py learns the true classes, with equal steps and optimizer."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/supervised.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, _base_.load_labels, *_base_.augment_points, _base_.pack]
train_dataloader = dict(dataset=dict(cameras=[], pipeline=train_pipeline))

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
