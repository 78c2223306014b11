"""ALSO on nuScenes for WaffleIron 48x256, see also_nus.py.

Nothing was published for this network; supports are the tokens within its range.
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/waffleiron48x256.py',
    '../_base_/methods/also.py',
    '../_base_/schedules/adamw_constant.py',
    '../_base_/default_runtime.py',
]

features = dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632)
train_pipeline = [
    _base_.load_points,
    dict(type='peridot.VoxelDownsample', voxel_size=0.1),
    *_base_.also_augment,
    dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0),
    dict(type='peridot.SamplePoints', num_points=16384),
    features,
    dict(type='peridot.PackPaired'),
]
probe_pipeline = [*_base_.probe_pipeline[:2], features, _base_.probe_pipeline[-1]]
train_dataloader = dict(batch_size=16, dataset=dict(cameras=[], pipeline=train_pipeline))
picture_dataset = dict(cameras=[], pipeline=probe_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(teacher=None, heads=_base_.heads, objectives=_base_.objectives)
custom_hooks = [*_base_.custom_hooks, _base_.occupancy_picture]

auto_scale_lr = dict(enable=False, base_batch_size=16)
