"""The synthetic streets' validation images against the true class of every pixel."""

_base_ = './nus_images_eval.py'

images_eval_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='peridot.RenderLabels'),
    dict(type='mmseg.PackSegInputs'),
]
demo_images = dict(data_root='data/demo/', pipeline=images_eval_pipeline)
val_dataloader = dict(num_workers=1, dataset=demo_images)
test_dataloader = dict(num_workers=1, dataset=demo_images)
