"""Drive&Segment's proposals from a Velodyne HDL-64E whose files have no ring."""

_base_ = './drive_and_segment_labels.py'

proposals = dict(
    load_points=dict(type='peridot.LoadPoints', load_dim=4, use_dim=4),
    sensor=dict(
        columns=870,
        # the upper 32 beams are closer together
        elevations=[2.0 - 10.5 / 31 * beam for beam in range(32)] + [-8.87 - 16.0 / 31 * beam for beam in range(32)],
    ),
)
