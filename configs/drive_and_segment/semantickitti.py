"""Drive&Segment on SemanticKITTI's sequences: proposals from a Velodyne HDL-64E for the left color camera."""

_base_ = ['../_base_/datasets/semantickitti_paired.py', '../_base_/methods/drive_and_segment_labels_hdl64e.py']
