"""SECOND all around the lidar in KITTI's voxels, a trunk that BEVContrast pre-trains on nuScenes."""

_base_ = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'

voxel_layer = dict(
    max_num_points=10, point_cloud_range=[-51.2, -51.2, -3.0, 51.2, 51.2, 1.0], voxel_size=[0.05, 0.05, 0.1]
)
model = dict(
    data_preprocessor=dict(voxel_layer=voxel_layer),
    middle_encoder=dict(sparse_shape=[41, 2048, 2048]),
)
