"""The student of Drive&Segment's extension on the synthetic streets: soft targets of a teacher that follows it.

Give the teacher's checkpoint: `--cfg-options model.teacher=work_dirs/teacher_demo/epoch_N.pth`.
"""

_base_ = './student_demo.py'

train_pipeline = [*_base_.load_soft, *_base_.geometry, *_base_.pack_soft]
train_dataloader = dict(dataset=dict(maps=_base_.soft_maps, pipeline=train_pipeline))

# few steps: the teacher follows faster
model = dict(type='peridot.DistillSegmentor', momentum=0.99)
custom_hooks = [*_base_.custom_hooks, dict(type='peridot.EMATeacherHook')]
