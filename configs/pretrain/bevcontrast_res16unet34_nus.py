"""BEVContrast on nuScenes as published: on a MinkUNet34 with one convolution in its stem, 600 training scenes.

Paper: "BEVContrast: Self-Supervision in BEV Space for Automotive Lidar Point Clouds", 3DV 2024. The network is
Res16UNet34C with a momentum of 0.1 in all batch normalizations, and reads intensities in [0, 1].
`python tools/make_splits.py nuscenes --root data/nuscenes --scenes parametrizing --percent 100` makes the split.

Differences from the released code are those of bevcontrast_nus.py, except its scenes, its student and its intensities.
"""

_base_ = './bevcontrast_nus.py'

load_points = dict(_base_.load_points, intensity_scale=255)
probe_pipeline = [load_points, _base_.load_labels, _base_.pack]
train_pipeline = [load_points, *_base_.shift_and_turn, _base_.pack]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='peridot.LabelFraction',
        split='splits/nuscenes_slidr_parametrizing_100pct.txt',
        dataset=dict(_base_.train_dataset, cameras=[], frames=_base_.later_frame, pipeline=train_pipeline),
    )
)
picture_dataset = dict(pipeline=probe_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(student=dict(backbone=dict(_delete_=True, type='peridot.Res16UNet', in_channels=1, norm_momentum=0.1)))
