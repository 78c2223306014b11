"""Fine-tuning of Res16UNet34C on nuScenes lidarseg with 10 % of the labels, 70 training scenes (SLidR's rule).

Published mIoU on the validation set: random 56.15, PPKT 60.25, SLidR 59.84, OLIVINE 65.01.
Learning rates for this fraction were not published; those for 1 % are used.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_10pct.txt'))
