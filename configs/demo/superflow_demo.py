"""SuperFlow scaled down to two CPU cores, see olivine_demo.py: its weak labels are the classes."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/superflow.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    _base_.load_points,
    _base_.draw_cameras,
    *_base_.load_views,
    _base_.load_maps,
    *_base_.augment_clouds,
    _base_.resize_views,
    _base_.mirror_views,
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(maps=dict(labels='weak_labels/kmeans'), frames=_base_.frames, pipeline=train_pipeline)
)

model = dict(heads=_base_.heads, objectives=_base_.objectives)

default_hooks = dict(logger=dict(interval=10))
