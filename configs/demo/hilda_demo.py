"""HilDA's layers and occupancy of the next frame scaled down to two CPU cores, without the scene token.

The demo's teacher, EfficientNet, has no class token; its stages 2 and 3 of strides 8 and 16 take the place of the last
two blocks of DINOv2.
"""

_base_ = [
    '../_base_/datasets/scalr_demo.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/hilda.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

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
train_dataloader = dict(dataset=dict(frames=_base_.next_frame, pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(
    teacher=dict(out_indices=(2, 3)),
    heads=dict(
        # 2048 hidden units would take longer than the student
        last=dict(_base_.heads.last, hidden_channels=256, teacher_layer=3),
        before=dict(_base_.heads.before, hidden_channels=256, teacher_layer=2),
        occupancy=_base_.heads.occupancy,
    ),
    objectives={name: settings for name, settings in _base_.objectives.items() if name != 'scene'},
)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

default_hooks = dict(logger=dict(interval=10))
