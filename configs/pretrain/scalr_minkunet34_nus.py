"""ScaLR's teacher, samples and objective with the sparse U-Net of SLidR and OLIVINE.

LiMA's authors published numbers for this pair under their own settings (docs/model_zoo.md).

The network reads the raw intensity, as with the other methods, so that its weights fit the same downstream configs.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [step for step in _base_.train_pipeline if step != _base_.nus_features]
picture_pipeline = [step for step in _base_.picture_pipeline if step != _base_.nus_features]
probe_pipeline = [step for step in _base_.probe_pipeline if step != _base_.nus_features]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(teacher=dict(_base_.teacher, _delete_=True), heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=8)
