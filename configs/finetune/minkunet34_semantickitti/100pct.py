"""Fine-tuning on SemanticKITTI, all 19130 training scans (sequences 00 to 07, 09, 10).

Learning rates for this fraction were not published; those for 1 % are used.
"""

_base_ = ['../../_base_/finetune/minkunet34.py', '../../_base_/datasets/semantickitti_seg.py']

train_dataloader = dict(
    batch_size=10,
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split=None,
        dataset=dict(_base_.train_dataset, pipeline=[*_base_.load, *_base_.augment, _base_.pack]),
    ),
)
val_dataloader = dict(dataset=dict(_base_.test_dataset, _delete_=True, pipeline=[*_base_.load, _base_.pack]))
test_dataloader = val_dataloader

# intensity in [1, 2], as in SLidR's code
model = dict(data_preprocessor=dict(feature_offset=1.0))
# learning rates 0.05 and 2.0
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=40.0))))

auto_scale_lr = dict(enable=False, base_batch_size=10)
