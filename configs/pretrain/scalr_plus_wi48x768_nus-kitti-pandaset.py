"""ScaLR+: as ScaLR, with GELU, a head with a hidden layer, stochastic depth, larger images, 65 epochs.

Published mIoU of linear probing: nuScenes 70.4, SemanticKITTI 61.0, Pandar64 43.5, PandarGT 40.7.

Difference from the released code, in addition to those in scalr_wi48x768_nus-kitti-pandaset.py: its means of cells
counted the padding of a batch.
"""

_base_ = [
    '../_base_/datasets/scalr_mixed.py',
    '../_base_/models/waffleiron48x768.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/scalr_plus_65e.py',
    '../_base_/default_runtime.py',
]

image_size = (448, 896)
resize = dict(type='peridot.ResizeViews', size=image_size)
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, pipeline=[resize if step['type'] == resize['type'] else step for step in part['pipeline']])
            for part in _base_.train_dataloader.dataset.datasets
        ]
    )
)
picture_dataset = dict(
    pipeline=[resize if step['type'] == resize['type'] else step for step in _base_.picture_pipeline]
)

model = dict(
    student=dict(backbone=dict(activation='gelu', drop_path=0.2, checkpointing=True)),
    teacher=dict(_base_.teacher, image_size=image_size, position_grid='timm'),
    heads=dict(distill=dict(type='peridot.DistillationHead', hidden_channels=2048)),
    objectives=_base_.objectives,
)

auto_scale_lr = dict(enable=False, base_batch_size=8)
