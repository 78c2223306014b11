"""Waymo's perception dataset with its five cameras, from the info files of mmdet3d's converter, in place of nuScenes.

No point labels, so no linear probe.
"""

_base_ = './nus_paired.py'

# x, y, z, intensity; elongation and timestamp are left out
load_points = dict(type='peridot.LoadPoints', load_dim=6, use_dim=4)

read_sample = [load_points, *_base_.load_views]
train_pipeline = [*read_sample, *_base_.augment]
picture_pipeline = [load_points, *_base_.load_views, _base_.resize_views, _base_.pack]

paired = dict(
    data_root='data/waymo/kitti_format/',
    data_prefix=dict(
        _delete_=True,
        pts='training/velodyne',
        sweeps='training/velodyne',
        CAM_FRONT='training/image_0',
        CAM_FRONT_LEFT='training/image_1',
        CAM_FRONT_RIGHT='training/image_2',
        CAM_SIDE_LEFT='training/image_3',
        CAM_SIDE_RIGHT='training/image_4',
    ),
    cameras=['CAM_FRONT', 'CAM_FRONT_LEFT', 'CAM_FRONT_RIGHT', 'CAM_SIDE_LEFT', 'CAM_SIDE_RIGHT'],
    dataset='waymo',
)
train_dataloader = dict(dataset=dict(**paired, ann_file='waymo_infos_train.pkl', pipeline=train_pipeline))
picture_dataset = dict(**paired, ann_file='waymo_infos_val.pkl', pipeline=picture_pipeline)
val_cfg = val_dataloader = val_evaluator = None
