"""PPKT on nuScenes as SLidR's authors published it: point-pixel InfoNCE on Res16UNet34C, 600 training scenes.

Paper: "Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D Pretraining", 2021. Settings of the
re-implementation whose numbers are usually quoted: batch 4 on 1 GPU, 50 epochs, SGD 0.5, MoCoV2 ResNet-50, 4096 pairs.
`python tools/make_splits.py nuscenes --root data/nuscenes --scenes parametrizing --percent 100` makes the split.

Differences from that code: see slidr_res16unet34_nus.py.
"""

_base_ = './ppkt_nus.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split='splits/nuscenes_slidr_parametrizing_100pct.txt',
        dataset=_base_.train_dataset,
    )
)
model = dict(student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1)))
