"""Fine-tuning WaffleIron 48x768 on nuScenes lidarseg, all 700 training scenes.

Published, mIoU on the validation set: ScaLR 78.4, ScaLR+ 78.4, without pre-training 78.7.
"""

_base_ = '../_base_/finetune/waffleiron48.py'

data_root = 'data/nuscenes/'
load = [
    dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
    dict(type='peridot.LoadPointLabels'),
    dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632),
]
train_dataset = dict(
    type='peridot.PairedDataset',
    data_root=data_root,
    ann_file='nuscenes_infos_train.pkl',
    data_prefix=dict(pts='samples/LIDAR_TOP', pts_semantic_mask='lidarseg/v1.0-trainval'),
    cameras=[],
    dataset='nuscenes',
    pipeline=[*load, *_base_.augment, _base_.pack],
)
test_dataset = dict(train_dataset, ann_file='nuscenes_infos_val.pkl', pipeline=[*load, _base_.pack], test_mode=True)

train_dataloader = dict(
    dataset=dict(_delete_=True, type='peridot.LabelFraction', split=None, dataset=train_dataset),
)
val_dataloader = dict(dataset=dict(_delete_=True, **test_dataset))
test_dataloader = val_dataloader

model = dict(decode_head=dict(num_classes=16, ignore_index=16))
