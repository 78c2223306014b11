"""ALSO on KITTI-360 for the trunk of SECOND and PV-RCNN, see also_second_kitti.py.

Published settings: all scans within the official training windows, batch 8 on 1 GPU, 75 epochs, the network, voxels and
queries of KITTI.
"""

_base_ = './also_second_kitti.py'

scans = dict(
    _delete_=True,
    type='peridot.LidarFolder',
    data_root='data/kitti360/',
    pattern='data_3d_raw/{sequence}/velodyne_points/data/*.bin',
    dataset='kitti360',
)
train_dataloader = dict(
    dataset=dict(**scans, split='data_3d_semantics/train/2013_05_28_drive_train.txt', pipeline=_base_.train_pipeline)
)
picture_dataset = dict(
    **scans,
    split='data_3d_semantics/train/2013_05_28_drive_val.txt',
    pipeline=[_base_.load_points, _base_.pack],
    test_mode=True,
)
train_cfg = dict(max_epochs=75)
