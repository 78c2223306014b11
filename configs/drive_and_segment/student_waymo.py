"""Drive&Segment's student on Waymo: labels of the teacher, averaged over segments and superpixels."""

_base_ = './teacher_waymo.py'

train_dataloader = dict(dataset=dict(maps=dict(labels=_base_.teacher_labels_folder)))

epochs = 2
train_cfg = dict(max_epochs=epochs)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True)]
