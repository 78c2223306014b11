"""Schedule of the demo: 10 epochs."""

epochs = 10
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.01))
param_scheduler = [
    dict(
        type='peridot.WarmupCosineLR',
        warmup=0.04,
        end=epochs,
        min_factor=0.003,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
