"""Fine-tuning on the labels of one synthetic scene with the published rates, other ones for random weights: SGD."""

_base_ = './minkunet18_100pct_demo.py'

train_dataloader = dict(dataset=dict(split='splits/nuscenes_random_10pct.txt'))

epochs = 30
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
