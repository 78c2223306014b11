"""Schedule of BEVContrast: AdamW, 50 epochs, a twentieth of the steps warm-up from 0, cosine to lr / 100; float32."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_interval=5)
# weight decay applies to all parameters, including normalizations and biases
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3))
param_scheduler = [
    dict(type='peridot.WarmupCosineLR', warmup=0.05, end=50, min_factor=0.01, by_epoch=True, convert_to_iter_based=True)
]
