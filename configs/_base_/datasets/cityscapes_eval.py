"""Cityscapes' validation images, 19 classes, at their own size."""

_base_ = 'mmseg::_base_/datasets/cityscapes.py'

images_eval_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='peridot.LoadClassMap'),
    dict(type='mmseg.PackSegInputs'),
]
train_dataloader = val_dataloader = val_evaluator = None
test_dataloader = dict(
    persistent_workers=False, dataset=dict(type='peridot.CityscapesImages', pipeline=images_eval_pipeline)
)
test_evaluator = dict(_delete_=True, type='peridot.MatchedMeanIoU')
test_cfg = dict(type='TestLoop')
