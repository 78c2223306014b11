"""Added to mmdet3d's own detector configs: weights of a pre-training, verified."""

custom_imports = dict(
    imports=['peridot.datasets', 'peridot.evaluation', 'peridot.hooks', 'peridot.models'], allow_failed_imports=False
)
custom_hooks = [dict(type='peridot.VerifyLoadingHook')]
randomness = dict(seed=0)
