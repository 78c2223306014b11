"""Drive&Segment's teacher on Waymo's perception dataset. No point labels, so no evaluation."""

_base_ = [
    '../_base_/datasets/waymo_paired.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

train_pipeline = [*_base_.load_hard, *_base_.geometry, *_base_.pack_hard]
train_dataloader = dict(
    **_base_.loader,
    dataset=dict(
        type='peridot.CameraImageDataset',
        maps=dict(labels=_base_.pseudo_labels_folder),
        pipeline=train_pipeline,
    ),
)
# no figures of the paired dataset's sweeps
picture_dataset = None

epochs = 1
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True)]
