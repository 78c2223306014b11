"""Drive&Segment on KITTI's object benchmark: proposals from a Velodyne HDL-64E for the left color camera."""

_base_ = ['../_base_/datasets/kitti_paired.py', '../_base_/methods/drive_and_segment_labels_hdl64e.py']
