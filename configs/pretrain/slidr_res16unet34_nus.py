"""SLidR on nuScenes as published: superpixel InfoNCE on Res16UNet34C, 600 of the 700 training scenes.

Paper: "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022. Batch 4 on 1 GPU, 50
epochs, SGD 0.5, MoCoV2 ResNet-50, SLIC superpixels (150 segments).
`python tools/make_splits.py nuscenes --root data/nuscenes --scenes parametrizing --percent 100` makes the split.

Differences from the released code:
- images are decoded at reduced size before the crop, pixel positions stay continuous, and crops differ as described in
  olivine_nus.py;
- superpixels are those of the installed scikit-image (there: version 0.18.2; later ones give other regions);
- a linear probe shows the progress, on scenes of the validation set (there: the loss on 100 training scenes): take the
  last epoch, not the best one.
"""

_base_ = './slidr_nus.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split='splits/nuscenes_slidr_parametrizing_100pct.txt',
        dataset=dict(_base_.train_dataset, maps=dict(superpixels=_base_.superpixels), pipeline=_base_.train_pipeline),
    )
)
model = dict(student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1)))
