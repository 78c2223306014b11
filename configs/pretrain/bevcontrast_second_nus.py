"""BEVContrast on nuScenes for the trunk of SECOND and PV-RCNN in KITTI's voxels, to be fine-tuned on KITTI.

Published settings: range +-51.2 m, heights from -3 to 1 m, cells of 0.4 m, batch 10 on each GPU (their number is not
stated); otherwise those of bevcontrast_nus.py. Intensities are in [0, 1], as in KITTI.

Differences from the released code: all 700 training scenes; a scan keeps up to 100,000 voxels (there: 60,000); the last
two keyframes of a scene have no part in the loss, see bevcontrast_nus.py. The cells divide the range.
"""

_base_ = './bevcontrast_nus.py'

load_points = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4, intensity_scale=255.0)
train_pipeline = [load_points, *_base_.shift_and_turn, _base_.pack]
probe_pipeline = [load_points, _base_.load_labels, _base_.pack]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=probe_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(
    student=dict(_delete_=True, type='peridot.DetectorTrunk', detector='configs/_base_/models/second_nus.py'),
)

auto_scale_lr = dict(base_batch_size=10)
