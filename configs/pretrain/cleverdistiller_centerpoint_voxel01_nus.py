"""CleverDistiller's recipe on nuScenes for the full trunk of CenterPoint with voxels of 0.1 m.

Nothing was published for this detector: settings are those for SECOND's trunk, with nuScenes' raw intensity, and the
keyframe alone replaces CenterPoint's ten sweeps.
"""

_base_ = './cleverdistiller_second_kitti-voxels_nus.py'

load_points = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4)
queries = dict(type='peridot.SampleOccupancyQueries', num_queries=4096, intensity_scale=255.0)
train_pipeline = [load_points, _base_.fine_voxels, _base_.all_cameras, *_base_.augment, queries, _base_.pack]
picture_pipeline = [load_points, *_base_.picture_pipeline[1:]]
probe_pipeline = [load_points, *_base_.probe_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(
    student=dict(detector='mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py'),
)
