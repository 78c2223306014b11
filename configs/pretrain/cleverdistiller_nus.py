"""CleverDistiller's recipe on nuScenes for MinkUNet34, with DINOv2 ViT-B.

Nothing was released. Samples and schedule are ScaLR's, the occupancy task is ALSO's with queries drawn from the points
that the chosen camera sees; docs/methods/cleverdistiller.md says what is public and what is our reading. The network
reads the raw intensity, as with the other methods.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/cleverdistiller.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    _base_.load_points,
    _base_.voxels,
    _base_.far_camera,
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

model = dict(teacher=dict(_base_.teacher, _delete_=True), heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=8)
