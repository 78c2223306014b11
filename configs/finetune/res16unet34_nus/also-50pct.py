"""Fine-tuning of Res16UNet34C on nuScenes lidarseg as ALSO does with 50 % of the labels, 300 training scenes.

Published mIoU on the validation set (from BEVContrast's README, by the same authors): random 69.0, ALSO 69.8.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 50` makes the split.
"""

_base_ = './also.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_also_50pct.txt'))

epochs = 50
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
