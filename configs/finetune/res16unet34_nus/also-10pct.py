"""Fine-tuning of Res16UNet34C on nuScenes lidarseg as ALSO does with 10 % of the labels, 60 training scenes.

Published mIoU on the validation set (from BEVContrast's README, by the same authors): random 57.3, ALSO 59.0.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 10` makes the split.
"""

_base_ = './also.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_also_10pct.txt'))

epochs = 100
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
