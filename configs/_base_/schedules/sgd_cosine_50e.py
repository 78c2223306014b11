"""Schedule of PPKT, SLidR and OLIVINE: 50 epochs, cosine stepped per epoch, no warm-up, float32."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_interval=5)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, dampening=0.1, weight_decay=1e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=50, eta_min=0, by_epoch=True)]
