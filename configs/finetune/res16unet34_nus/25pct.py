"""Fine-tuning of Res16UNet34C on nuScenes lidarseg with 25 % of the labels, 175 training scenes (SLidR's rule).

Published mIoU on the validation set: random 65.48, PPKT 67.14, SLidR 66.91, OLIVINE 70.13.
Learning rates for this fraction were not published; those for 1 % are used.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_25pct.txt'))
