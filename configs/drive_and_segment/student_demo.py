"""Drive&Segment's student on the synthetic streets: the teacher's labels, agreed within segments and superpixels."""

_base_ = './teacher_demo.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].folder = _base_.teacher_labels_folder
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
