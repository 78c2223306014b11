"""PandaSet's rotating lidar in place of nuScenes: samples of ScaLR, linear probe and pictures."""

_base_ = './scalr_nus.py'

load_labels = dict(type='peridot.LoadPointLabels')
read = [_base_.load_four, load_labels]
picture_pipeline = [
    *read,
    dict(type='peridot.LoadImageViews'),
    dict(type='peridot.ProjectPoints', min_depth=0.0),
    dict(type='peridot.ResizeViews', size=_base_.image_size),
    _base_.pandar64_features,
    _base_.pack,
]
probe_pipeline = [*read, _base_.pandar64_features, _base_.pack]

train = _base_.pandar64_train
whole = dict(train, cameras=[], pipeline=probe_pipeline, test_mode=True)
val_infos = 'pandar64_infos_val.pkl'

train_dataloader = dict(dataset=dict(train, _delete_=True))
picture_dataset = dict(whole, _delete_=True, ann_file=val_infos, cameras=train['cameras'], pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(whole, _delete_=True, ann_file=val_infos))
val_cfg = dict(fit_dataloader=dict(dataset=dict(whole, _delete_=True)))
