"""SLidR for the full trunk of CenterPoint on the synthetic streets."""

_base_ = './slidr_demo.py'

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
    ),
)
