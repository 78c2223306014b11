"""Fine-tuning of Res16UNet34C on nuScenes lidarseg with 1 % of the labels, 7 training scenes (SLidR's rule).

Published mIoU on the validation set: random 30.30, PPKT 37.80, SLidR 38.30, OLIVINE 50.58.
The learning rates are the published ones.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_1pct.txt'))
