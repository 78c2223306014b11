"""Fine-tuning on SemanticKITTI as ALSO does with 1 % of the labels, here every 100th training scan.

ALSO trains on a list of scans drawn at random.
Published mIoU on sequence 08 (from BEVContrast's README, by the same authors): random 46.2, ALSO 50.0.
`python tools/make_splits.py semantickitti --root data/semantickitti --percent 1` makes the split.
"""

_base_ = './also-100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_1pct.txt'))

epochs = 500
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
