"""Fine-tuning WaffleIron 48x768 on nuScenes lidarseg, all 700 training scenes.

Published mIoU on the validation set: random 78.7, ScaLR 78.4, ScaLR+ 78.4.
"""

_base_ = ['../../_base_/finetune/waffleiron48.py', '../../_base_/datasets/nus_seg.py']

load = [*_base_.load, dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632)]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split=None,
        dataset=dict(_base_.train_dataset, pipeline=[*load, *_base_.augment, _base_.pack]),
    ),
)
val_dataloader = dict(dataset=dict(_base_.test_dataset, _delete_=True, pipeline=[*load, _base_.pack]))
test_dataloader = val_dataloader

model = dict(decode_head=dict(num_classes=16, ignore_index=16))
