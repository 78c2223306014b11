"""Fine-tuning WaffleIron 48x768 with 10 % of the labels of nuScenes lidarseg, 70 training scenes (SLidR's rule).

Published mIoU on the validation set: ScaLR 69.2, ScaLR+ 70.7.
The authors' lists of scans for this fraction are not public; this split is ours.
`python tools/make_splits.py nuscenes --root data/nuscenes` makes the split.
"""

_base_ = './1pct.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_slidr_10pct.txt'))
