"""Drive&Segment's student on KITTI: labels of the teacher, averaged over segments and superpixels."""

_base_ = './teacher_kitti.py'

train_dataloader = dict(dataset=dict(maps=dict(labels=_base_.teacher_labels_folder)))

epochs = 172
train_cfg = dict(max_epochs=epochs)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=epochs, by_epoch=True, convert_to_iter_based=True)]
