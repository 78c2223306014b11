"""CleverDistiller's recipe on nuScenes for the trunk of SECOND and PV-RCNN in KITTI's voxels.

The paper has detection results, but neither its detector's settings nor code are public: these are ours; for the rest
see cleverdistiller_nus.py. All six cameras of a scan are taken, because the range lies in front of the lidar and one
camera's points may all be outside of it. Points, number of queries and intensity (0 to 1, as in KITTI) are those of
also_second_kitti-voxels_nus.py.
"""

_base_ = './cleverdistiller_nus.py'

load_points = dict(type='peridot.LoadPoints', load_dim=5, use_dim=4, intensity_scale=255.0)
fine_voxels = dict(type='peridot.VoxelDownsample', voxel_size=0.05)
all_cameras = dict(type='peridot.ChooseCamera', min_points=17, min_depth=1.0, num_cameras=None)
# without a limit of points
augment = _base_.augment[1:]
queries = dict(type='peridot.SampleOccupancyQueries', num_queries=4096)
train_pipeline = [load_points, fine_voxels, all_cameras, *augment, queries, _base_.pack]
picture_pipeline = [load_points, *_base_.picture_pipeline[1:]]
probe_pipeline = [load_points, *_base_.probe_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
picture_dataset = dict(pipeline=picture_pipeline)
val_dataloader = dict(dataset=dict(pipeline=probe_pipeline))
val_cfg = dict(fit_dataloader=dict(dataset=dict(pipeline=probe_pipeline)))

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    ),
)
