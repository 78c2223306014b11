"""PPKT on nuScenes: point-pixel InfoNCE with the image network at its own stride, 32.

Paper: "Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D Pretraining", 2021. Settings are those of
its re-implementation by SLidR's authors, whose numbers are the ones usually quoted: 600 of the 700 training scenes,
batch 4 on 1 GPU, 50 epochs, SGD 0.5, MoCoV2 ResNet-50, 4096 pairs per step.

Differences from that code: see slidr_nus.py.
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/ppkt.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(teacher=dict(output_stride=32), heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=4)
