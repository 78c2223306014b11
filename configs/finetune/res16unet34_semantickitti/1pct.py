"""Fine-tuning of Res16UNet34C on SemanticKITTI with 1 % of the labels, every 100th training scan (SLidR's rule).

Published mIoU on sequence 08 after pre-training on nuScenes: random 39.50, PPKT 44.00, SLidR 44.60, OLIVINE 49.38.
`python tools/make_splits.py semantickitti --root data/semantickitti` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_1pct.txt'))
