"""Fine-tuning on SemanticKITTI as ALSO does with 50 % of the labels, here every 2nd training scan.

ALSO trains on a list of scans drawn at random.
Published mIoU on sequence 08 (from BEVContrast's README, by the same authors): random 61.8, ALSO 63.4.
`python tools/make_splits.py semantickitti --root data/semantickitti --percent 50` makes the split.
"""

_base_ = './also-100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_50pct.txt'))

epochs = 50
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
