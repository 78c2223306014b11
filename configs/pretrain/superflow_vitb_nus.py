"""SuperFlow on nuScenes with DINOv2 ViT-B, see superflow_nus.py."""

_base_ = './superflow_nus.py'

model = dict(
    teacher=dict(model='vit_base_patch14_dinov2.lvd142m', weights='checkpoints/dinov2_vitb14_pretrain.pth'),
)
