"""ScaLR: distance of the normalized features of a point and of its pixel, nothing else.

"Three Pillars Improving Vision Foundation Model Distillation for Lidar", CVPR 2024. ScaLR+ has
`heads = dict(distill=dict(hidden_channels=2048))` and images of 448x896 pixels.

Pixel positions stay continuous. The released code rounds them down at the size of the file, scales them and rounds
down again: up to about one pixel of the resized image is lost.
"""

teacher = dict(
    type='peridot.TimmTeacher',
    # DINOv2 without registers, ViT-L; its last block before the final normalization
    model='vit_large_patch14_dinov2.lvd142m',
    weights='checkpoints/dinov2_vitl14_pretrain.pth',
    final_norm=False,
    align_corners=True,
    # position embeddings resampled as in the DINOv2 release; ScaLR+ has images of (448, 896) and resamples as timm does
    image_size=(224, 448),
    position_grid='dinov2',
)
heads = dict(distill=dict(type='peridot.DistillationHead'))
objectives = dict(distance=dict(type='peridot.FeatureDistance', head='distill', distance='l2'))
