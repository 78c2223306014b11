"""Fine-tuning on SemanticKITTI as ALSO does with 10 % of the labels, here every 10th training scan.

ALSO trains on a list of scans drawn at random.
Published mIoU on sequence 08 (from BEVContrast's README, by the same authors): random 57.6, ALSO 60.5.
`python tools/make_splits.py semantickitti --root data/semantickitti --percent 10` makes the split.
"""

_base_ = './also-100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_10pct.txt'))

epochs = 100
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
