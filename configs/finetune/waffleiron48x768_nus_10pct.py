"""Fine-tuning WaffleIron 48x768 with 10 % of the labels of nuScenes lidarseg, 70 training scenes (SLidR's rule).

Published, mIoU on the validation set: ScaLR 69.2, ScaLR+ 70.7.
The published lists of scans for this share are not public in their repository; these are ours.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './waffleiron48x768_nus_100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_10pct.txt'))

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95))
epochs = 45
param_scheduler = _base_.few_labels_scheduler
train_cfg = dict(max_epochs=epochs)
