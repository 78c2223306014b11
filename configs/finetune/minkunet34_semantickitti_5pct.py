"""Fine-tuning on SemanticKITTI with 5 % of the labels, every 20th training scan (SLidR's rule).

No number for this share was found; the settings are those for 1 %.
`python tools/make_splits.py semantickitti --root data/semantickitti` makes the split.
"""

_base_ = './minkunet34_semantickitti_100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_5pct.txt'))
