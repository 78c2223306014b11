"""ALSO for the trunk of SECOND on the synthetic streets, see also_demo.py."""

_base_ = './also_demo.py'

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    ),
)
