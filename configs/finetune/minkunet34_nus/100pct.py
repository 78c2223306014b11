"""Fine-tuning on nuScenes lidarseg, all 700 training scenes.

Published mIoU on the validation set: random 74.66, PPKT 74.52, SLidR 74.79, OLIVINE 76.54.
Learning rates for this fraction were not published; those for 1 % are used.

Differences from the released code: batch normalization has momentum 0.1 (there 0.02), and the network's stem has two
convolutions (there one); the last batch of an epoch is used even if it is not full; the head has no output for
unlabeled points (there: one of 17, which the losses count) and starts from smaller weights.
"""

_base_ = ['../../_base_/finetune/minkunet34.py', '../../_base_/datasets/nus_seg.py']

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split=None,
        dataset=dict(_base_.train_dataset, pipeline=[*_base_.load, *_base_.augment, _base_.pack]),
    ),
)
val_dataloader = dict(dataset=dict(_base_.test_dataset, _delete_=True, pipeline=[*_base_.load, _base_.pack]))
test_dataloader = val_dataloader

model = dict(decode_head=dict(num_classes=16, ignore_index=16))

auto_scale_lr = dict(enable=False, base_batch_size=16)
