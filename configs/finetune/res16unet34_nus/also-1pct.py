"""Fine-tuning of Res16UNet34C on nuScenes lidarseg as ALSO does with 1 % of the labels, 6 training scenes.

Published mIoU on the validation set (from BEVContrast's README, by the same authors): random 35.0, ALSO 37.4.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 1` makes the split.
"""

_base_ = './also.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_also_1pct.txt'))

epochs = 500
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
