"""Fine-tuning WaffleIron 48x768 with 1 % of the labels of SemanticKITTI, every 100th training scan.

Published mIoU on sequence 08: ScaLR 55.8, ScaLR+ 57.4.
`python tools/make_splits.py semantickitti --root data/semantickitti` makes the split.
"""

_base_ = './100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_1pct.txt'))

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95))
param_scheduler = _base_.few_labels_scheduler
train_cfg = dict(max_epochs=45)
