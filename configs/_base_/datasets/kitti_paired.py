"""KITTI's object benchmark in place of nuScenes: scans with the left color camera. No labels of points, no probe."""

_base_ = './nus_paired.py'

# x, y, z, reflectance
load_points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)

read_sample = [load_points, *_base_.read_sample[1:]]
train_pipeline = [*read_sample, *_base_.augment]
picture_pipeline = [load_points, *_base_.picture_pipeline[2:]]

paired = dict(
    data_root='data/kitti/',
    data_prefix=dict(_delete_=True, pts='training/velodyne', img='training/image_2'),
    cameras=['CAM2'],
    dataset='kitti',
)
train_dataloader = dict(dataset=dict(**paired, ann_file='kitti_infos_train.pkl', pipeline=train_pipeline))
picture_dataset = dict(**paired, ann_file='kitti_infos_val.pkl', pipeline=picture_pipeline)
val_cfg = val_dataloader = val_evaluator = None
