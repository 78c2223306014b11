"""Fine-tuning on nuScenes lidarseg, all 700 training scenes.

Published, mIoU on the validation set: random 74.66, PPKT 74.52, SLidR 74.79, OLIVINE 76.54.
The learning rates for this share were not published; these are those for 1 %.

Different from the released code: batch normalization has momentum 0.1 (there 0.02), and the network's stem has two
convolutions (there one).
"""

_base_ = '../_base_/finetune/minkunet34.py'

data_root = 'data/nuscenes/'
load = [
    dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
    dict(type='peridot.LoadPointLabels'),
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
    batch_size=16,
    dataset=dict(_delete_=True, type='peridot.LabelFraction', split=None, dataset=train_dataset),
)
val_dataloader = dict(dataset=dict(_delete_=True, **test_dataset))
test_dataloader = val_dataloader

model = dict(decode_head=dict(num_classes=16, ignore_index=16))

auto_scale_lr = dict(enable=False, base_batch_size=16)
