"""CleverDistiller's recipe scaled down to two CPU cores: synthetic streets, a small sparse U-Net, EfficientNet."""

_base_ = [
    '../_base_/datasets/scalr_demo.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/cleverdistiller.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

# the raw intensity, as with the other methods
train_pipeline = [
    _base_.load_points,
    _base_.voxels,
    _base_.all_cameras,
    *_base_.augment,
    _base_.queries,
    _base_.pack,
]
picture_pipeline = [step for step in _base_.picture_pipeline if step != _base_.nus_features]
probe_pipeline = [step for step in _base_.probe_pipeline if step != _base_.nus_features]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

# 2048 hidden units would take longer than the student
model = dict(
    heads=dict(_base_.heads, distill=dict(_base_.heads.distill, hidden_channels=256)), objectives=_base_.objectives
)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

default_hooks = dict(logger=dict(interval=10))
