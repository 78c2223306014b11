"""Argoverse 2's Sensor Dataset with its seven ring cameras, in place of nuScenes.

All cameras that have an image near the sweep are taken, mostly all seven. Crops have nuScenes' shape: of the front
camera, whose images stand upright, they show up to half. No point labels, so no linear probe.
"""

_base_ = './nus_paired.py'

# x, y, z, intensity; heights count from the rear axle
load_points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)

read_sample = [load_points, *_base_.load_views]
train_pipeline = [*read_sample, *_base_.augment]
picture_pipeline = [load_points, *_base_.load_views, _base_.resize_views, _base_.pack]

paired = dict(data_root='data/argoverse2/', data_prefix=dict(_delete_=True), cameras=None, dataset='argoverse2')
train_dataloader = dict(dataset=dict(**paired, ann_file='argoverse2_infos_train.pkl', pipeline=train_pipeline))
picture_dataset = dict(**paired, ann_file='argoverse2_infos_val.pkl', pipeline=picture_pipeline)
val_cfg = val_dataloader = val_evaluator = None
