"""Fine-tuning as ALSO does, on the labels of one of the eight synthetic training scenes.

`python tools/make_splits.py nuscenes --root data/demo --rule random --percent 10` makes the split.
"""

_base_ = './minkunet18_also_100pct_demo.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_random_10pct.txt'))

epochs = 20
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
