"""Drive&Segment's student on the synthetic streets: labels of the teacher, averaged over segments and superpixels."""

_base_ = './teacher_demo.py'

train_dataloader = dict(dataset=dict(maps=dict(labels=_base_.teacher_labels_folder)))
