"""The ceiling of the demo for WaffleIron: the student of scalr_demo.py learns the true classes of all points."""

_base_ = [
    '../_base_/datasets/scalr_demo.py',
    '../_base_/models/waffleiron12_lite0.py',
    '../_base_/methods/supervised.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    _base_.load_points,
    _base_.load_labels,
    _base_.voxels,
    *[step for step in _base_.augment if step != _base_.resize_views],
    _base_.nus_features,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(cameras=[], pipeline=train_pipeline))

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
