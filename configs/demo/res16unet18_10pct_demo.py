"""Fine-tuning of the narrow Res16UNet on the labels of one of the eight synthetic training scenes."""

_base_ = './minkunet18_10pct_demo.py'

load_from = 'work_dirs/slidr_res16unet18_demo/backbone.pth'

backbone = dict(
    type='peridot.Res16UNet',
    in_channels=1,
    stem_channels=16,
    channels=[16, 32, 64, 128, 128, 64, 48, 96],
    layers=[2, 2, 2, 2, 2, 2, 2, 2],
    norm_momentum=0.02,
)
model = dict(backbone=dict(_delete_=True, **backbone))
