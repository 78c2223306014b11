"""Drive&Segment's teacher on nuScenes: Segmenter learns the pseudo-labels, about 20,000 iterations."""

_base_ = [
    '../_base_/datasets/nus_images_eval.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

train_pipeline = [*_base_.load_hard, *_base_.geometry, *_base_.pack_hard]
train_dataloader = dict(
    **_base_.loader,
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

epochs = 2
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True)]
val_cfg = dict()
test_cfg = dict()
