"""ALSO on ONCE for the trunk of SECOND, see also_second_kitti.py.

Published settings: the sequences of raw_small, batch 8 on 1 GPU, 40 epochs, voxels of 0.1 x 0.1 x 0.2 m within 75.2 m,
cells of 0.8 m; intensity in [0, 1]. mmdet3d has no detector for ONCE: the weights fit every SECOND encoder.
"""

_base_ = './also_second_kitti.py'

# in the files 0 to 255
load_points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4, intensity_scale=255.0)
scans = dict(
    _delete_=True,
    type='peridot.LidarFolder',
    data_root='data/once/',
    pattern='data/{sequence}/lidar_roof/*.bin',
    dataset='once',
)
train_dataloader = dict(
    dataset=dict(**scans, split='ImageSets/raw_small.txt', pipeline=[load_points, *_base_.dense_scan, _base_.pack])
)
picture_dataset = dict(**scans, split='ImageSets/val.txt', pipeline=[load_points, _base_.pack], test_mode=True)
train_cfg = dict(max_epochs=40)

model = dict(student=dict(detector='configs/_base_/models/second_once.py'))
