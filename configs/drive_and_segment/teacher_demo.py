"""Drive&Segment's teacher on the synthetic streets: a small network on images of half size, for a CPU."""

_base_ = [
    '../_base_/datasets/demo_images_eval.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

image_scale = (352, 198)
image_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='mmseg.Resize', scale=image_scale, keep_ratio=True),
    dict(type='mmseg.PackSegInputs'),
]
geometry = [
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.8, 1.6), keep_ratio=True, resize_type='mmseg.Resize'),
    dict(type='mmseg.RandomCrop', crop_size=(128, 128)),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='peridot.LoadLabelMap', folder=_base_.pseudo_classes_folder),
    *geometry,
    dict(type='peridot.KeepLabeled'),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs'),
]
train_dataloader = dict(
    **{**_base_.loader, 'batch_size': 8, 'num_workers': 1},
    dataset=dict(
        type='peridot.CameraImageDataset',
        data_root=_base_.val_dataloader.dataset.data_root,
        ann_file='nuscenes_infos_train.pkl',
        data_prefix=_base_.val_dataloader.dataset.data_prefix,
        dataset='nuscenes',
        pipeline=train_pipeline,
    ),
)
images_eval_pipeline = [*image_pipeline[:-1], dict(type='peridot.RenderLabels'), image_pipeline[-1]]
val_dataloader = dict(dataset=dict(pipeline=images_eval_pipeline))
test_dataloader = dict(dataset=dict(pipeline=images_eval_pipeline))

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        weights=None, img_size=(128, 128), patch_size=8, embed_dims=96, num_layers=4, num_heads=4, drop_path_rate=0.0
    ),
    decode_head=dict(in_channels=96, channels=96, embed_dims=96, num_heads=4),
    test_cfg=dict(crop_size=(128, 128), stride=(96, 96)),
)

epochs = 8
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True),
]
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=10))
