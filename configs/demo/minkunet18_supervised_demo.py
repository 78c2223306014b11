"""The ceiling of the demo: all labels, random weights at the start, the steps and the optimizer of pre-training."""

_base_ = './minkunet18_100pct_demo.py'

load_from = None
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=3e-3, weight_decay=0.01), paramwise_cfg=None)
epochs = 10
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
