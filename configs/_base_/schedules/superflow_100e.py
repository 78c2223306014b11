"""Schedule of SuperFlow: AdamW, one cycle stepped per iteration over 100 epochs, 20 % of them rising; float32.

From lr / 25 up to lr and down to lr / 2500; weight decay applies to all parameters. The released code has 100
epochs, the paper is said to have 50.
"""

epochs = 100
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.01, eps=1e-6))
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=0.01,
        total_steps=epochs,
        pct_start=0.2,
        div_factor=25,
        final_div_factor=100,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
