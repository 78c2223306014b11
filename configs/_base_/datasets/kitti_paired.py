"""KITTI's object benchmark: lidar and left color camera as in SemanticKITTI. No point labels, so no linear probe."""

_base_ = './semantickitti_paired.py'

picture_pipeline = [_base_.load_points, *_base_.load_views, _base_.resize_views, _base_.pack]

paired = dict(
    data_root='data/kitti/', data_prefix=dict(pts='training/velodyne', img='training/image_2'), dataset='kitti'
)
train_dataloader = dict(dataset=dict(**paired, ann_file='kitti_infos_train.pkl'))
picture_dataset = dict(**paired, ann_file='kitti_infos_val.pkl', pipeline=picture_pipeline)
val_cfg = val_dataloader = val_evaluator = None
