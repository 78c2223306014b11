"""Own recordings whose points have labels (docs/own_recording.md), in place of nuScenes: training and linear probe.

`python tools/create_data.py folder` has brought them into one form, so that there is little to set:
- data_root, or --data-root;
- cameras: names of those to use; None takes all that calibration.json has;
- intensity_scale: 1 for intensities from 0 to 1 over the declared range, 1 / 255 for nuScenes' 0 to 255;
- min_depth of ProjectPoints, if something of the vehicle is in the images.
There is no range to set: the sparse U-Net takes all points, and detectors' trunks have theirs in the detector's config.
"""

_base_ = './nus_paired.py'

cameras = None
intensity_scale = 1.0
# x, y, z in meters, intensity
load_points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4, intensity_scale=intensity_scale)
load_labels = dict(type='peridot.LoadPointLabels', dtype='uint32')

read_sample = [load_points, *_base_.load_views]
train_pipeline = [*read_sample, *_base_.augment]
picture_pipeline = [load_points, load_labels, *_base_.load_views, _base_.resize_views, _base_.pack]
probe_pipeline = [load_points, load_labels, _base_.pack]

paired = dict(data_root='data/folder/', data_prefix=dict(_delete_=True), cameras=cameras, dataset='folder')
train_infos = dict(ann_file='folder_infos_train.pkl')
val_infos = dict(ann_file='folder_infos_val.pkl')
unpaired = dict(paired, cameras=[], pipeline=probe_pipeline)

train_dataloader = dict(dataset=dict(**paired, **train_infos, pipeline=train_pipeline))
picture_dataset = dict(**paired, **val_infos, pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(**unpaired, **val_infos))
val_cfg = dict(fit_dataloader=dict(dataset=dict(**unpaired, **train_infos)))
