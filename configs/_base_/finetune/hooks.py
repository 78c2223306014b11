"""Added to mmdet3d's own configs: initial weights of a pre-training run, verified."""

_base_ = '../imports.py'

custom_hooks = [dict(type='peridot.VerifyLoadingHook')]
randomness = dict(seed=0)
