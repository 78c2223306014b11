"""ALSO on nuScenes for the full trunk of CenterPoint with voxels of 0.1 m: encoder, 2D backbone and neck.

Nothing was published for this detector: the settings are those for SECOND's trunk, and the keyframe alone replaces
CenterPoint's ten sweeps.
"""

_base_ = './also_nus.py'

train_pipeline = [
    _base_.load_points,
    dict(type='peridot.VoxelDownsample', voxel_size=0.05),
    *_base_.also_augment,
    dict(type='peridot.SampleOccupancyQueries', num_queries=4096, intensity_scale=255.0),
    dict(type='peridot.SamplePoints', num_points=80000),
    _base_.pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=100)

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
    ),
)

auto_scale_lr = dict(base_batch_size=8)
