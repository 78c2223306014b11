"""Runtime of every pre-training run: hooks, logging, seeds."""

_base_ = ['mmdet3d::_base_/default_runtime.py', './imports.py']

default_hooks = dict(
    # without mmdet3d's visualization hook, which draws predictions
    _delete_=True,
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # a killed run continues from the last full epoch; older checkpoints are deleted
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # in half precision with a loss scaler; otherwise the first loss that is not finite ends the run
    skip_overflow=dict(type='peridot.SkipOverflowHook', limit=20),
)
custom_hooks = [
    dict(type='peridot.CheckCheckpointHook'),
    dict(type='peridot.ExportBackboneHook'),
    dict(type='peridot.FeaturePictureHook'),
]

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends, name='visualizer')

# every random draw of a run follows from this number; repeat a run with another one
randomness = dict(seed=0)
