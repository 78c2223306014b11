"""Linear probing on the synthetic streets, with the demo's student."""

_base_ = './minkunet18_100pct_demo.py'

model = dict(type='peridot.LinearProbeSegmentor')
optim_wrapper = dict(optimizer=dict(lr=0.05), paramwise_cfg=None)
