"""ScaLR's objective with the sparse U-Net of the demo, see scalr_demo.py."""

_base_ = [
    '../_base_/datasets/scalr_demo.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

# the raw intensity, as with the other methods
train_pipeline = [step for step in _base_.train_pipeline if step != _base_.nus_features]
picture_pipeline = [step for step in _base_.picture_pipeline if step != _base_.nus_features]
probe_pipeline = [step for step in _base_.probe_pipeline if step != _base_.nus_features]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
