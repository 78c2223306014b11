"""LiMA's idea: the target of a point are image features of six keyframes, here from DINOv2 ViT-B/14.

Paper: "Beyond One Shot, Beyond One Perspective: Cross-View and Long-Horizon Distillation for Better LiDAR
Representations", ICCV 2025. Its training code was not available to us, so this is our reading (docs/methods/lima.md):
the number of keyframes, teacher and network are those of its tables; samples, objective and schedule are ScaLR's, with
all cameras. The alignment of different sequences, the third part of the method, is left out.
"""

_base_ = './scalr_minkunet34_nus.py'

# with the sample's own one six keyframes, the number in LiMA's tables
images_of = (-1, -2, -3, -4, -5)
all_cameras = dict(type='peridot.ChooseCamera', min_points=17, min_depth=1.0, num_cameras=None)
# needs no labels; peridot.DropMovingPairs does
drop_occluded = dict(type='peridot.DropOccludedPairs')
train_pipeline = [_base_.load_points, _base_.voxels, all_cameras, drop_occluded, *_base_.augment, _base_.pack]
train_dataloader = dict(dataset=dict(frames=dict(images_of=images_of), pipeline=train_pipeline))

# LiMA's tables have ViT-S, ViT-B and ViT-L
model = dict(
    teacher=dict(model='vit_base_patch14_dinov2.lvd142m', weights='checkpoints/dinov2_vitb14_pretrain.pth'),
)
