"""OLIVINE on nuScenes: point-pixel InfoNCE, weakly-supervised contrast, vMF class consistency.

Paper: "Fine-grained Image-to-LiDAR Contrastive Distillation with Visual Foundation Models", NeurIPS 2024.
Published settings: 700 training scenes, batch 16 on 4 GPUs (4 per GPU), 50 epochs, SGD 0.5, MoCoV2 ResNet-50,
SEEM weak labels with 17 classes, loss weights 0.5 / 0.5 / 1.

Differences from the released code:
- the student is mmdet3d's MinkUNetBackbone on spconv: its stem has two 3x3x3 convolutions instead of one, and
  all its batch normalizations have momentum 0.1;
- the Bessel function in the vMF term is the exact one (a constant: only the logged loss changes);
- statistics of the vMF term are those of the joint batch of all GPUs;
- images are decoded at reduced size before the crop; pixel positions stay continuous and follow a crop exactly (there:
  without the half pixel between corners and centers, rounded, off by up to 0.4 pixels);
- crops begin and end at even pixels; if none of 20 keeps enough pairs, the one with most is taken (there: drawn until
  one does);
- the density of the weakly-supervised term is that of the labeled pairs (there: of all; SEEM's maps label every pixel).
"""

_base_ = [
    '../_base_/datasets/nus_paired.py',
    '../_base_/models/minkunet34_r50.py',
    '../_base_/methods/olivine.py',
    '../_base_/schedules/sgd_cosine_50e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.read_sample,
    dict(type='peridot.LoadPairLabels'),
    *_base_.augment,
]
train_dataloader = dict(dataset=dict(maps=dict(labels=_base_.weak_labels), pipeline=train_pipeline))

model = dict(heads=_base_.heads, objectives=_base_.objectives)

auto_scale_lr = dict(enable=False, base_batch_size=16)
