"""Fine-tuning WaffleIron 48x768 on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

Published mIoU on sequence 08: ScaLR 65.8, ScaLR+ 65.2 (25 epochs, 2 of them warm-up).
"""

_base_ = ['../../_base_/finetune/waffleiron48.py', '../../_base_/datasets/semantickitti_seg.py']

load = [*_base_.load, dict(type='peridot.AppendPointFeatures', mean=0.28613698, std=0.14090556)]
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

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=9, begin=1, end=10, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)
