"""SECOND in the range and voxels that ALSO uses on ONCE, a trunk for pre-training; mmdet3d has no ONCE detector."""

_base_ = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'

voxel_layer = dict(point_cloud_range=[-75.2, -75.2, -5.0, 75.2, 75.2, 3.0], voxel_size=[0.1, 0.1, 0.2])
model = dict(
    data_preprocessor=dict(voxel_layer=voxel_layer),
    middle_encoder=dict(sparse_shape=[41, 1504, 1504]),
)
