"""The student of Drive&Segment's extension on KITTI's object benchmark: soft targets of a teacher that follows it.

Give the teacher's checkpoint: `--cfg-options model.teacher=work_dirs/teacher_kitti/epoch_N.pth`.
"""

_base_ = './student_kitti.py'

train_pipeline = [*_base_.load_soft, *_base_.geometry, *_base_.pack_soft]
train_dataloader = dict(dataset=dict(maps=_base_.soft_maps, pipeline=train_pipeline))

model = dict(type='peridot.DistillSegmentor', backbone=dict(weights=None))
custom_hooks = [*_base_.custom_hooks, dict(type='peridot.EMATeacherHook')]
