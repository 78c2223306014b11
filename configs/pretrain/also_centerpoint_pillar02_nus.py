"""ALSO on nuScenes for the full trunk of CenterPoint with pillars of 0.2 m: encoder, 2D backbone and neck.

Nothing was published for this detector: the settings are those for SECOND's trunk, and the keyframe alone replaces
CenterPoint's ten sweeps.
"""

_base_ = './also_centerpoint_voxel01_nus.py'

model = dict(
    student=dict(detector='mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'),
)
