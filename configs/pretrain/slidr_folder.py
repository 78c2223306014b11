"""SLidR on own recordings (docs/own_recording.md), with the networks and the schedule of slidr_nus.py."""

_base_ = [
    '../_base_/datasets/folder_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/slidr.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment,
]
train_dataloader = dict(dataset=dict(maps=dict(superpixels=_base_.superpixels), pipeline=train_pipeline))

model = dict(heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=4)
