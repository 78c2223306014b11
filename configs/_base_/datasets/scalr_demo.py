"""The synthetic streets of tools/make_demo_data.py in place of nuScenes, in ScaLR's samples with all cameras."""

_base_ = './scalr_nus.py'

demo_data = dict(data_root='data/demo/')

# six times the supervision of a sample: the demo is short
all_cameras = dict(type='peridot.ChooseCamera', min_points=17, min_depth=1.0, num_cameras=None)
train_pipeline = [_base_.load_points, _base_.voxels, all_cameras, *_base_.augment, _base_.nus_features, _base_.pack]

train_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(demo_data, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=demo_data)
val_cfg = dict(fit_dataloader=dict(num_workers=1, dataset=demo_data))
picture_dataset = demo_data
