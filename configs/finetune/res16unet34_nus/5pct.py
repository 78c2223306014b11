"""Fine-tuning of Res16UNet34C on nuScenes lidarseg with 5 % of the labels, 35 training scenes (SLidR's rule).

Published mIoU on the validation set: random 47.84, PPKT 53.74, SLidR 52.49, OLIVINE 60.19.
Learning rates for this fraction were not published; those for 1 % are used.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_5pct.txt'))
