"""Samples of ScaLR, one camera and the points it sees: nuScenes for training, the other datasets for mixtures.

A point of the network has eight columns, x, y, z and WaffleIron's five features, see peridot.AppendPointFeatures.
`scalr_mixed.py` trains on all four datasets; docs/mixed_datasets.md shows how to train on another one alone. As
mmengine's configs copy values, a changed pipeline must also be put into its dataset.

Published: order of the steps, voxels, limits, ranges, image size and intensities (mean and standard deviation).
Differences from the released code:
- pixel positions stay continuous (there: rounded down before and after the resizing);
- points must lie `min_depth` in front of the camera, for SemanticKITTI, too (there: 1 m in front of the lidar);
- PandaSet's voxels lie in the vehicle's frame (there: in the world);
- a camera with too few points, or a sample of such cameras, is replaced (there: the run stops).
"""

_base_ = './nus_paired.py'

# ScaLR+ takes (448, 896)
image_size = (224, 448)
nus_features = dict(type='peridot.AppendPointFeatures', mean=18.742355, std=22.04632)
semantickitti_features = dict(type='peridot.AppendPointFeatures', mean=0.28613698, std=0.14090556)
pandar64_features = dict(type='peridot.AppendPointFeatures', mean=18.23640649, std=25.86983417)
pandargt_features = dict(type='peridot.AppendPointFeatures', mean=23.06113565, std=16.76273235)

load_four = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)
voxels = dict(type='peridot.VoxelDownsample', voxel_size=0.1)
far_camera = dict(type='peridot.ChooseCamera', min_points=17, min_depth=1.0)
any_camera = dict(type='peridot.ChooseCamera', min_points=17, min_depth=0.0)
resize_views = dict(type='peridot.ResizeViews', size=image_size)
augment = [
    dict(type='peridot.LimitPoints', max_points=20000),
    dict(
        type='mmdet3d.GlobalRotScaleTrans',
        rot_range=[-3.141592653589793, 3.141592653589793],
        scale_ratio_range=[0.9, 1.1],
    ),
    dict(type='peridot.RandomFlipAxis', prob=2 / 3),
    resize_views,
]

train_pipeline = [_base_.load_points, voxels, far_camera, *augment, nus_features, _base_.pack]
# full images and clouds, nothing random, for figures
picture_pipeline = [_base_.load_points, _base_.load_labels, *_base_.load_views, resize_views, nus_features, _base_.pack]
# points and their classes for the linear probe, no images
probe_pipeline = [_base_.load_points, _base_.load_labels, nus_features, _base_.pack]

nus_train = dict(_base_.train_dataset, pipeline=train_pipeline)
semantickitti_train = dict(
    type='peridot.PairedDataset',
    data_root='data/semantickitti/',
    ann_file='semantickitti_infos_train.pkl',
    cameras=['CAM2'],
    dataset='semantickitti',
    pipeline=[load_four, voxels, far_camera, *augment, semantickitti_features, _base_.pack],
)
pandar64_train = dict(
    type='peridot.PairedDataset',
    data_root='data/pandaset/',
    ann_file='pandar64_infos_train.pkl',
    cameras=[
        'back_camera',
        'front_camera',
        'front_left_camera',
        'front_right_camera',
        'left_camera',
        'right_camera',
    ],
    dataset='pandar64',
    pipeline=[load_four, voxels, any_camera, *augment, pandar64_features, _base_.pack],
)
# forward-facing only
pandargt_train = dict(
    type='peridot.PairedDataset',
    data_root='data/pandaset/',
    ann_file='pandargt_infos_train.pkl',
    cameras=['front_camera'],
    dataset='pandargt',
    pipeline=[load_four, voxels, any_camera, *augment, pandargt_features, _base_.pack],
)

train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))
