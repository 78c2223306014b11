"""SECOND on KITTI after ALSO's pre-training of the whole trunk, see second_kitti.py; the detector's own settings."""

_base_ = './second_kitti.py'

load_from = 'work_dirs/also_second_kitti/backbone.pth'
