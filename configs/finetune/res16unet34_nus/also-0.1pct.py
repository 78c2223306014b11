"""Res16UNet34C on nuScenes lidarseg, fine-tuned as ALSO does with 0.1 % of the labels, one training scene (scene-0392).

Published mIoU on the validation set (from BEVContrast's README, by the same authors): random 21.6, ALSO 26.2.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 0.1` makes the split.
"""

_base_ = './also.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_also_0.1pct.txt'))

epochs = 1000
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
