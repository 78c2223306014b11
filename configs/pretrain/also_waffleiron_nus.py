"""ALSO on nuScenes for WaffleIron 48x256, see also_nus.py.

Nothing was published for this network; supports are the tokens within its range.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/waffleiron48x256.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_constant.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [_base_.load_points, *_base_.sparse_scan, _base_.nus_features, _base_.pack]
train_dataloader = dict(batch_size=16, drop_last=False, dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=_base_.probe_pipeline)

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=16)
