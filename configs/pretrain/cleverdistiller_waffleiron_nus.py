"""CleverDistiller's recipe on nuScenes for WaffleIron 48x256, see cleverdistiller_nus.py.

Nothing was published for this network; supports of occupancy are the tokens within its range.
"""

_base_ = [
    '../_base_/datasets/scalr_nus.py',
    '../_base_/models/waffleiron48x256.py',
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
    _base_.nus_features,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(teacher=_base_.teacher, heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=8)
