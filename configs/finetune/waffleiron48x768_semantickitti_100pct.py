"""Fine-tuning WaffleIron 48x768 on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

Published, mIoU on sequence 08: ScaLR 65.8, ScaLR+ 65.2 (25 epochs, 2 of them warm-up).
"""

_base_ = '../_base_/finetune/waffleiron48.py'

data_root = 'data/semantickitti/'
load = [
    dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
    dict(type='peridot.LoadPointLabels', dtype='uint32'),
    dict(type='peridot.AppendPointFeatures', mean=0.28613698, std=0.14090556),
]
train_dataset = dict(
    type='peridot.PairedDataset',
    data_root=data_root,
    ann_file='semantickitti_infos_train.pkl',
    cameras=[],
    dataset='semantickitti',
    pipeline=[*load, *_base_.augment, _base_.pack],
)
test_dataset = dict(
    train_dataset, ann_file='semantickitti_infos_val.pkl', pipeline=[*load, _base_.pack], test_mode=True
)

train_dataloader = dict(
    dataset=dict(_delete_=True, type='peridot.LabelFraction', split=None, dataset=train_dataset),
)
val_dataloader = dict(dataset=dict(_delete_=True, **test_dataset))
test_dataloader = val_dataloader

epochs, warmup = 10, 1
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=epochs - warmup,
        begin=warmup,
        end=epochs,
        eta_min=0.0,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
