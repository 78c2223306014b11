"""Res16UNet34C on nuScenes lidarseg, fine-tuned as ALSO does with its full training set, 600 training scenes.

Published mIoU on the validation set (from BEVContrast's README, by the same authors): random 71.2, ALSO 71.8.
`python tools/make_splits.py nuscenes --root data/nuscenes --rule also --percent 100` makes the split.
"""

_base_ = './also.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_also_100pct.txt'))
