"""HilDA's layers and scene token on nuScenes for MinkUNet34, with DINOv2 ViT-B, and occupancy of the next frame.

Nothing was released. A sample is a keyframe and the next one, each with the whole scan and all six cameras; both learn
from their own images, and the queries of the next one are asked of the keyframe. docs/methods/hilda.md says what is
public and what is our reading; augmentation and schedule are ScaLR's.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/hilda.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

# whole scans: without ScaLR's choice of a camera and limit of points
train_pipeline = [
    _base_.load_points,
    _base_.voxels,
    *_base_.load_views,
    *_base_.augment[1:],
    _base_.queries,
    _base_.pack,
]
picture_pipeline = [step for step in _base_.picture_pipeline if step != _base_.nus_features]
probe_pipeline = [step for step in _base_.probe_pipeline if step != _base_.nus_features]
# eight scans
train_dataloader = dict(batch_size=4, dataset=dict(frames=_base_.next_frame, pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(teacher=dict(_base_.teacher, _delete_=True), heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=4)
