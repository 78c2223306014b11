"""Fine-tuning on SemanticKITTI as ALSO does with 0.1 % of the labels, here every 1000th training scan.

ALSO trains on a list of scans drawn at random.
Published mIoU on sequence 08 (from BEVContrast's README, by the same authors): random 30.0, ALSO 35.0.
`python tools/make_splits.py semantickitti --root data/semantickitti --percent 0.1` makes the split.
"""

_base_ = './also-100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_0.1pct.txt'))

epochs = 1000
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
