"""SuperFlow on nuScenes with DINOv2 ViT-L, see superflow_nus.py."""

_base_ = './superflow_nus.py'

model = dict(
    teacher=dict(model='vit_large_patch14_dinov2.lvd142m', weights='checkpoints/dinov2_vitl14_pretrain.pth'),
)
