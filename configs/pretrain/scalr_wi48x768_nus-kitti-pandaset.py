"""ScaLR: WaffleIron 48x768 and DINOv2 ViT-L/14 on nuScenes, SemanticKITTI and PandaSet's two lidars.

Paper: "Three Pillars Improving Vision Foundation Model Distillation for Lidar", CVPR 2024.
Published settings: batch 8 over all GPUs, 25 epochs, AdamW 2e-3, images of 224x448, one camera per sample.
Published mIoU of linear probing: nuScenes 67.8, SemanticKITTI 55.8, Pandar64 37.9, PandarGT 34.5.

Differences from the released code: those of the samples (_base_/datasets/scalr_nus.py), and batch statistics without
padding (model.student.backbone.reference_padding).
"""

_base_ = [
    '../_base_/datasets/scalr_mixed.py',
    '../_base_/models/waffleiron48x768.py',
    '../_base_/methods/scalr.py',
    '../_base_/schedules/scalr_25e.py',
    '../_base_/default_runtime.py',
]

model = dict(teacher=_base_.teacher, heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=8)
