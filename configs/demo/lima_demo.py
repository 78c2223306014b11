"""LiMA's idea on the demo, see configs/pretrain/lima_nus.py: ScaLR's objective over images of three keyframes."""

_base_ = './scalr_minkunet_demo.py'

drop_occluded = dict(type='peridot.DropOccludedPairs')
train_pipeline = [_base_.load_points, _base_.voxels, _base_.all_cameras, drop_occluded, *_base_.augment, _base_.pack]
train_dataloader = dict(dataset=dict(frames=dict(images_of=(-1, -2)), pipeline=train_pipeline))
