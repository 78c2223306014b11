"""The student of Drive&Segment's extension on nuScenes: soft targets of a teacher that follows it.

Give the teacher's checkpoint: `--cfg-options model.teacher=work_dirs/teacher_nuscenes/epoch_N.pth`.
"""

_base_ = './student_nuscenes.py'

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

model = dict(type='peridot.DistillSegmentor', backbone=dict(weights=None))
custom_hooks = [*_base_.custom_hooks, dict(type='peridot.EMATeacherHook')]
