"""Linear probing of WaffleIron 48x768 on SemanticKITTI: a batch-normalized linear layer on frozen features.

Published, mIoU on sequence 08: ScaLR 55.8, ScaLR+ 61.0 (there the learning rate falls to 0).
"""

_base_ = './waffleiron48x768_semantickitti_100pct.py'

model = dict(type='peridot.LinearProbeSegmentor', backbone=dict(drop_path=0.0))
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=3e-3))
epochs, warmup = 20, 2
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=epochs - warmup,
        begin=warmup,
        end=epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
