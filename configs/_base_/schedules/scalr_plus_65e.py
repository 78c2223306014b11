"""Schedule of ScaLR+: 65 epochs, warm-up of one, reciprocal square root, linear to 0 in the last two; bfloat16.

Batch 8 over all GPUs. Weight decay applies to all parameters, including normalizations and biases.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=65, val_interval=5)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.03),
)
param_scheduler = [
    dict(
        type='peridot.WarmupReciprocalSqrtLR',
        # in epochs
        warmup=1,
        tau=0.45,
        cooldown=63,
        end=65,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
