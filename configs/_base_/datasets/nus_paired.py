"""nuScenes keyframes with their six cameras for image-to-lidar pre-training, augmented as OLIVINE and SLidR do.

Methods that need superpixels or weak labels load them between `read_sample` and `augment`. As mmengine's configs copy
values, a changed pipeline must also be put into its dataset:
`train_dataloader = dict(dataset=dict(pipeline=train_pipeline))`.
"""

data_root = 'data/nuscenes/'
# canonical order; in the info files it differs
cameras = [
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_BACK_RIGHT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_FRONT_LEFT',
]
data_prefix = dict(
    pts='samples/LIDAR_TOP',
    sweeps='sweeps/LIDAR_TOP',
    pts_semantic_mask='lidarseg/{version}',
    CAM_FRONT='samples/CAM_FRONT',
    CAM_FRONT_RIGHT='samples/CAM_FRONT_RIGHT',
    CAM_BACK_RIGHT='samples/CAM_BACK_RIGHT',
    CAM_BACK='samples/CAM_BACK',
    CAM_BACK_LEFT='samples/CAM_BACK_LEFT',
    CAM_FRONT_LEFT='samples/CAM_FRONT_LEFT',
)
image_size = (224, 416)
# x, y, z, intensity; the ring number is left out
load_points = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4)
load_labels = dict(type='peridot.LoadPointLabels')
# images, and the pixels of the points in them
load_views = [
    dict(type='peridot.LoadImageViews'),
    dict(type='peridot.ProjectPoints', min_depth=1.0),
]
augment_points = [
    dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.0, 6.283185307179586], scale_ratio_range=[1.0, 1.0]),
    dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
]
augment_views = [
    dict(type='peridot.DropCuboids', max_size=0.2, min_pairs=1024),
    dict(
        type='peridot.RandomResizedCropViews',
        size=image_size,
        scale=(0.3, 1.0),
        aspect=(14 / 9, 17 / 9),
        min_pairs=1024,
        min_pairs_ratio=0.75,
        max_tries=20,
    ),
    dict(type='peridot.RandomFlipViews', prob=0.5),
]
resize_views = dict(type='peridot.ResizeViews', size=image_size)
pack = dict(type='peridot.PackPaired')

read_sample = [load_points, *load_views]
augment = [*augment_points, *augment_views, pack]
train_pipeline = [*read_sample, *augment]
# full images, nothing random, for figures
picture_pipeline = [load_points, load_labels, *load_views, resize_views, pack]
# points and their lidarseg classes for the linear probe, no images
probe_pipeline = [load_points, load_labels, pack]

train_dataset = dict(
    type='peridot.PairedDataset',
    data_root=data_root,
    ann_file='nuscenes_infos_train.pkl',
    data_prefix=data_prefix,
    cameras=cameras,
    dataset='nuscenes',
    pipeline=train_pipeline,
)
picture_dataset = dict(train_dataset, ann_file='nuscenes_infos_val.pkl', pipeline=picture_pipeline, test_mode=True)
probe_train_dataset = dict(train_dataset, cameras=[], pipeline=probe_pipeline, test_mode=True)
probe_val_dataset = dict(probe_train_dataset, ann_file='nuscenes_infos_val.pkl')

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='peridot.SeededSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=train_dataset,
)

probe_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
)
val_dataloader = dict(dataset=probe_val_dataset, **probe_dataloader)
val_evaluator = dict(type='peridot.PointSegMetric', prefix='probe')
val_cfg = dict(type='peridot.LinearProbeLoop', fit_dataloader=dict(dataset=probe_train_dataset, **probe_dataloader))
