"""Drive&Segment's network on Cityscapes' validation images, 19 classes, in windows as released."""

_base_ = [
    '../_base_/datasets/cityscapes_eval.py',
    '../_base_/models/segmenter_vit-s16.py',
    '../_base_/methods/drive_and_segment.py',
]

custom_imports = dict(imports=[*_base_.custom_imports.imports, 'peridot.drive_and_segment.evaluation.image_sets'])

# images as they are
image_pipeline = [dict(type='LoadImageFromFile'), dict(type='mmseg.PackSegInputs')]

# the checkpoint has the weights
model = dict(backbone=dict(weights=None), test_cfg=dict(stride=(128, 128)))
optim_wrapper = train_cfg = val_cfg = None
