"""Fine-tuning WaffleIron 48x256 with 1 % of the labels of SemanticKITTI, every 100th training scan.

No number for this width was found; the settings are those of 768 channels.
`python tools/make_splits.py semantickitti --root data/semantickitti` makes the split.
"""

_base_ = './waffleiron48x256_semantickitti_100pct.py'

train_dataloader = dict(dataset=dict(split='splits/semantickitti_slidr_1pct.txt'))

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95))
epochs, warmup = 45, 4
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=epochs - warmup,
        begin=warmup,
        end=epochs,
        eta_min=0.0,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
