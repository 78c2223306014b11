"""Drive&Segment on nuScenes: proposals from a Velodyne HDL-32E for six cameras."""

_base_ = ['../_base_/datasets/nus_paired.py', '../_base_/methods/drive_and_segment_labels.py']

proposals = dict(
    # x, y, z, intensity, ring
    load_points=dict(type='peridot.LoadPoints', load_dim=5, use_dim=5),
    sensor=dict(
        columns=1085,
        ring_column=4,
        # for files without rings set ring_column=None
        elevations=[10.67 - 1.3335 * beam for beam in range(32)],
    ),
)
