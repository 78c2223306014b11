"""ScaLR scaled down to two CPU cores: synthetic streets, a small WaffleIron, EfficientNet instead of DINOv2."""

_base_ = [
    '../_base_/datasets/scalr_demo.py',
    '../_base_/models/waffleiron12_lite0.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
