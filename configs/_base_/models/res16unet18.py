"""A Res16UNet of 18 layers with half of the published widths, for two CPU cores."""

res16unet18 = dict(
    type='peridot.Res16UNet',
    in_channels=1,
    stem_channels=16,
    channels=[16, 32, 64, 128, 128, 64, 48, 96],
    layers=[2, 2, 2, 2, 2, 2, 2, 2],
)
