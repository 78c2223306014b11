"""OLIVINE for SECOND's sparse encoder on the synthetic streets."""

_base_ = './olivine_demo.py'

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
        read_after='middle_encoder',
    ),
    objectives=dict(weak=dict(range_bin=1.0)),
)
