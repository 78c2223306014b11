"""Fine-tuning on nuScenes lidarseg with 5 % of the labels, 35 training scenes (SLidR's rule).

Published, mIoU on the validation set: random 47.84, PPKT 53.74, SLidR 52.49, OLIVINE 60.19.
The learning rates for this share were not published; these are those for 1 %.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './minkunet34_nus_100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_5pct.txt'))
