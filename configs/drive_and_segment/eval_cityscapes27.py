"""Drive&Segment's network on Cityscapes' validation images, 27 classes."""

_base_ = './eval_cityscapes.py'

test_dataloader = dict(dataset=dict(type='peridot.Cityscapes27Images'))
