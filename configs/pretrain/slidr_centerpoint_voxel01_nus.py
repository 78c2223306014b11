"""SLidR on nuScenes for the full trunk of CenterPoint with voxels of 0.1 m: encoder, 2D backbone and neck.

Only results of others were published for this detector (docs/model_zoo.md): the optimizer's settings are those for
SECOND's encoder.
"""

_base_ = './slidr_second_kitti-voxels_nus.py'

model = dict(
    student=dict(
        detector='mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
        read_after='neck',
    ),
)
