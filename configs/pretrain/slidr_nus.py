"""SLidR on nuScenes: superpixel InfoNCE.

Paper: "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022.
Published settings: 600 of the 700 training scenes, batch 4 on 1 GPU, 50 epochs, SGD 0.5, MoCoV2 ResNet-50, SLIC
superpixels (150 segments).

Differences from the released code:
- all 700 training scenes;
- the student is mmdet3d's MinkUNetBackbone on spconv: its stem has two 3x3x3 convolutions instead of one, and
  all its batch normalizations have momentum 0.1;
- images are decoded at reduced size before the crop, pixel positions stay continuous, and crops differ as described in
  olivine_nus.py.
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/slidr.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadViewMaps'),
    *_base_.augment,
]
train_dataloader = dict(dataset=dict(maps=dict(superpixels=_base_.superpixels), pipeline=train_pipeline))

model = dict(heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=4)
