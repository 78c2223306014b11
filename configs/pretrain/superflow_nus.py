"""SuperFlow on nuScenes with DINOv2 ViT-S: three frames and a dense cloud, superpixels of classes.

Paper: "4D Contrastive Superflows are Dense 3D Representation Learners", ECCV 2024.
Settings of the released code: 600 of the 700 training scenes (as the paper is said to have), batch 4 on each of 8 GPUs,
100 epochs, AdamW 0.01 with one cycle, maps of OpenSeeD with 17 classes in words.
`configs/pretrain/superflow_vitb_nus.py` and `superflow_vitl_nus.py` have the larger teachers.

Differences from the released code (docs/methods/superflow.md has the options that bring its behavior back):
- all 700 training scenes;
- neighbors are found by log and time; at the ends of a drive their terms are left out of the loss;
- sweeps are moved with the exact transform;
- the student sees all clouds of a step together: one pass, joint batch statistics;
- voxels begin at multiples of their size, and keep their groups wherever a cloud lies;
- all batch normalizations of mmdet3d's MinkUNetBackbone have momentum 0.1;
- images are decoded at reduced size, pixel positions stay continuous.
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/superflow.py',
    '../_base_/schedules/superflow_100e.py',
    '../_base_/default_runtime.py',
]

image_size = (224, 448)
resize_views = dict(type='peridot.ResizeViews', size=image_size)
train_pipeline = [
    _base_.load_points,
    _base_.draw_cameras,
    *_base_.load_views,
    _base_.load_maps,
    *_base_.augment_clouds,
    resize_views,
    _base_.mirror_views,
    _base_.pack,
]
picture_pipeline = [_base_.load_points, _base_.load_labels, *_base_.load_views, resize_views, _base_.pack]
train_dataloader = dict(
    dataset=dict(maps=dict(labels=_base_.weak_labels), frames=_base_.frames, pipeline=train_pipeline)
)
picture_dataset = dict(pipeline=picture_pipeline)

teacher = dict(
    type='peridot.TimmTeacher',
    # DINOv2 without registers, its last block before the final normalization
    model='vit_small_patch14_dinov2.lvd142m',
    weights='checkpoints/dinov2_vits14_pretrain.pth',
    final_norm=False,
    align_corners=True,
    # position embeddings resampled as in the DINOv2 release
    image_size=image_size,
    position_grid='dinov2',
)
model = dict(
    # x, y, z and raw intensity of a voxel's first point
    student=dict(feature_columns=(0, 1, 2, 3), backbone=dict(in_channels=4)),
    teacher=dict(teacher, _delete_=True),
    heads=_base_.heads,
    objectives=_base_.objectives,
)

auto_scale_lr = dict(enable=False, base_batch_size=32)
