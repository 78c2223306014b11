"""ALSO on nuScenes with its own network: also_nus.py on a MinkUNet34 with one convolution in its stem.

That is Res16UNet34C with a momentum of 0.1 in all batch normalizations. Differences from the released code are those of
also_nus.py, except the student.
"""

_base_ = './also_nus.py'

model = dict(
    student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.1)),
)
