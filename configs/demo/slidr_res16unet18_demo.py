"""SLidR on a narrow Res16UNet of 18 layers, scaled down to two CPU cores, see slidr_demo.py."""

_base_ = './slidr_demo.py'

backbone = dict(
    type='peridot.Res16UNet',
    in_channels=1,
    stem_channels=16,
    channels=[16, 32, 64, 128, 128, 64, 48, 96],
    layers=[2, 2, 2, 2, 2, 2, 2, 2],
)
model = dict(student=dict(backbone=dict(_delete_=True, **backbone)))
