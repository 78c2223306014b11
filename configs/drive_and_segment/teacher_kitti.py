"""Drive&Segment's teacher on KITTI's object benchmark, about 20,000 iterations. No point labels, so no evaluation."""

_base_ = [
    '../_base_/datasets/kitti_paired.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

# objects appear as large as in nuScenes' images of 1600 x 900
image_scale = (2174, 656)
image_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='mmseg.Resize', scale=image_scale, keep_ratio=True),
    dict(type='mmseg.PackSegInputs'),
]
geometry = [
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True, resize_type='mmseg.Resize'),
    *_base_.geometry[1:],
]
train_pipeline = [*_base_.load_hard, *geometry, *_base_.pack_hard]
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

epochs = 86
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True)]
