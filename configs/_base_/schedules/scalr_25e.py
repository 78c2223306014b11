"""Schedule of ScaLR: 25 epochs, 3500 iterations of warm-up, cosine to 1e-5; batch 8 over all GPUs.

Weight decay applies to all parameters, including normalizations and biases. Published results used float16
(`optim_wrapper = dict(type='AmpOptimWrapper', dtype='float16')`), the released code runs in float32 as well.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=25, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.03))
param_scheduler = [
    dict(
        type='peridot.WarmupCosineLR', warmup=3500, end=25, min_factor=0.005, by_epoch=True, convert_to_iter_based=True
    )
]
