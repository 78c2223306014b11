"""Drive&Segment's student on the synthetic streets: the teacher's labels, agreed within segments and superpixels."""

_base_ = './teacher_demo.py'

train_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='peridot.LoadLabelMap', folder=_base_.teacher_labels_folder),
    *_base_.geometry,
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='mmseg.PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
