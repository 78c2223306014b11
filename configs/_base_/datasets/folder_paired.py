"""Own recordings without labels (docs/own_recording.md), so no linear probe; folder_labeled.py says what to set."""

_base_ = './folder_labeled.py'

picture_pipeline = [_base_.load_points, *_base_.load_views, _base_.resize_views, _base_.pack]

picture_dataset = dict(pipeline=picture_pipeline)
val_cfg = val_dataloader = val_evaluator = None
