"""Fine-tuning on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

The learning rates for this share were not published; these are those for 1 %.
"""

_base_ = '../_base_/finetune/minkunet34.py'

data_root = 'data/semantickitti/'
load = [
    dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
    dict(type='peridot.LoadPointLabels', dtype='uint32'),
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
    batch_size=10,
    dataset=dict(_delete_=True, type='peridot.LabelFraction', split=None, dataset=train_dataset),
)
val_dataloader = dict(dataset=dict(_delete_=True, **test_dataset))
test_dataloader = val_dataloader

# intensity in [1, 2], as in SLidR's code
model = dict(data_preprocessor=dict(feature_offset=1.0))
# learning rates 0.05 and 2.0
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=40.0))))

auto_scale_lr = dict(enable=False, base_batch_size=10)
