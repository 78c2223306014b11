"""BEVContrast scaled down to two CPU cores: synthetic streets, an 18-layer student, no camera.

A street has seven keyframes: the partner is the next one, 0.5 s later, so that six of them have one.
"""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/bevcontrast.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.shift_and_turn, _base_.pack]
train_dataloader = dict(dataset=dict(cameras=[], frames=dict(keyframes=(1,), cameras=False), pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
