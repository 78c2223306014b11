"""OLIVINE on nuScenes for the sparse encoder of SECOND and PV-RCNN (KITTI voxels: their encoders are the same).

Published settings: batch 16 on 4 GPUs, SGD 0.01, density over range in bins of 1 m; the encoder alone is pre-trained.
The range is the detector's, in front of the lidar; random rotations bring every sector into it.

Differences from the released code, in addition to those in olivine_nus.py:
- voxels and range of KITTI's detectors instead of 0.1 x 0.1 x 0.2 m and 51.2 m around: the weights then mean the same
  in the detector, whose map of two height levels goes into the head as it is (256 channels);
- bins of the range begin at multiples of 1 m (there: ranges are rounded, so they begin half a meter earlier);
- points beyond the last cell read that cell instead of nothing.
"""

_base_ = './olivine_nus.py'

model = dict(
    student=dict(
        _delete_=True,
        type='peridot.DetectorTrunk',
        detector='mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
        read_after='middle_encoder',
    ),
    objectives=dict(weak=dict(range_bin=1.0)),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
