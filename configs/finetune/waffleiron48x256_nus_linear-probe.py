"""Linear probing of WaffleIron 48x256 on nuScenes lidarseg.

No number for this width was found; the settings are those of 768 channels.
"""

_base_ = './waffleiron48x768_nus_linear-probe.py'

load_from = 'work_dirs/scalr_wi48x256_nus/backbone.pth'
model = dict(backbone=dict(channels=256), decode_head=dict(channels=256))
