"""Fine-tuning on the labels of one of the eight synthetic training scenes: AdamW, one rate for all layers and starts.

`python tools/make_splits.py nuscenes --root data/demo --rule random --percent 10` makes the split. The published rates
(minkunet18_10pct-published_demo.py) are made for 100 epochs of many scenes: docs/effect.md.
"""

_base_ = './minkunet18_100pct_demo.py'

train_dataloader = dict(batch_size=1, dataset=dict(split='splits/nuscenes_random_10pct.txt'))

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=3e-3, weight_decay=0.01), paramwise_cfg=None)
epochs = 30
param_scheduler = [
    dict(type='peridot.WarmupCosineLR', warmup=0.04, end=epochs, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
random_init_options = dict(_delete_=True)
