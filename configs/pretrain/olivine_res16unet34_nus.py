"""OLIVINE on nuScenes with its own network, Res16UNet34C: olivine_nus.py, whose other settings are the published ones.

Differences from the released code are those of olivine_nus.py, except the student.
"""

_base_ = './olivine_nus.py'

model = dict(student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1)))
