"""SemanticKITTI's scans with the left color camera of KITTI's odometry benchmark, in place of nuScenes.

Needs `image_2` and `calib.txt` in the sequences (docs/datasets.md). The camera sees a sixth of a scan.
"""

_base_ = './nus_paired.py'

# x, y, z, reflectance
load_points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)
load_labels = dict(type='peridot.LoadPointLabels', dtype='uint32')

read_sample = [load_points, *_base_.load_views]
train_pipeline = [*read_sample, *_base_.augment]
picture_pipeline = [load_points, load_labels, *_base_.load_views, _base_.resize_views, _base_.pack]
probe_pipeline = [load_points, load_labels, _base_.pack]

paired = dict(
    data_root='data/semantickitti/', data_prefix=dict(_delete_=True), cameras=['CAM2'], dataset='semantickitti'
)
train_infos = dict(ann_file='semantickitti_infos_train.pkl')
val_infos = dict(ann_file='semantickitti_infos_val.pkl')
unpaired = dict(paired, cameras=[], pipeline=probe_pipeline)

train_dataloader = dict(dataset=dict(**paired, **train_infos, pipeline=train_pipeline))
picture_dataset = dict(**paired, **val_infos, pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(**unpaired, **val_infos))
val_cfg = dict(fit_dataloader=dict(dataset=dict(**unpaired, **train_infos)))
