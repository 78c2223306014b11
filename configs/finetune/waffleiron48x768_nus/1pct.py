"""Fine-tuning WaffleIron 48x768 with 1 % of the labels of nuScenes lidarseg, 7 training scenes (SLidR's rule).

Published mIoU on the validation set: ScaLR 50.7, ScaLR+ 54.1.
The authors' lists of scans for this fraction are not public; this split is ours.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_1pct.txt'))

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95))
param_scheduler = _base_.few_labels_scheduler
train_cfg = dict(max_epochs=45)
