"""The student of Drive&Segment's extension on the synthetic streets: soft targets of a teacher that follows it.

Give the teacher's checkpoint: `--cfg-options model.teacher=work_dirs/teacher_demo/epoch_N.pth`.
"""

_base_ = './student_demo.py'

train_pipeline = [
    dict(type='peridot.LoadCameraImage'),
    dict(type='peridot.LoadLabelMap', folder=_base_.pseudo_classes_folder),
    dict(type='peridot.LoadRegionMap', **_base_.regions),
    *_base_.geometry,
    dict(type='peridot.KeepTeacherView'),
    dict(type='mmseg.PhotoMetricDistortion'),
    dict(type='peridot.PackDistillInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# a short training: the teacher follows faster
model = dict(type='peridot.DistillSegmentor', momentum=0.99)
custom_hooks = [*_base_.custom_hooks, dict(type='peridot.EMATeacherHook')]
