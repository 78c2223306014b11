"""ScaLR with CLIP as teacher, so that points can be queried in words (docs/open_vocabulary.md).

Validated without labels. Teacher, protocol and sizes are our choice: those of ScaLR's authors were not available to us.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/waffleiron48x256.py',
    '../_base_/methods/scalr_clip.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

model = dict(teacher=_base_.teacher, heads=_base_.heads, objectives=_base_.objectives)
val_dataloader = dict(dataset=dict(_base_.picture_dataset, _delete_=True))
val_cfg = dict(_base_.zero_shot, _delete_=True)
val_evaluator = _base_.zero_shot_evaluator

auto_scale_lr = dict(enable=False, base_batch_size=8)
