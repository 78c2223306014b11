"""OLIVINE on Argoverse 2's Sensor Dataset, see olivine_nus.py. Nothing was published for this dataset.

Networks and settings are those for nuScenes; the warm-up takes the same share of the training.
"""

_base_ = [
    '../_base_/datasets/argoverse2_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/olivine.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadPairLabels'),
    *_base_.augment,
]
train_dataloader = dict(dataset=dict(maps=dict(labels=_base_.weak_labels), pipeline=train_pipeline))

model = dict(
    heads=_base_.heads,
    objectives=dict(_base_.objectives, vmf=dict(_base_.objectives.vmf, warmup_steps=None)),
)

auto_scale_lr = dict(enable=False, base_batch_size=16)
