"""OLIVINE scaled down to two CPU cores: synthetic streets, EfficientNet-Lite0, an 18-layer student."""

_base_ = [
    '../_base_/datasets/demo_paired.py',
    '../_base_/models/minkunet18_lite0.py',
    '../_base_/methods/olivine.py',
    '../_base_/schedules/adamw_cosine_10e.py',
    '../_base_/default_runtime.py',
]

num_label_classes = 16

train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadPairLabels'),
    *_base_.augment,
]
train_dataloader = dict(dataset=dict(maps=dict(labels='weak_labels/kmeans'), pipeline=train_pipeline))

model = dict(
    heads=_base_.heads,
    objectives=dict(
        infonce=dict(_base_.objectives.infonce, num_pairs=2048),
        weak=dict(_base_.objectives.weak, num_pairs=2048),
        vmf=dict(_base_.objectives.vmf, num_classes=num_label_classes, warmup_steps=None, loss_weight=0.02),
    ),
)

default_hooks = dict(logger=dict(interval=10))
