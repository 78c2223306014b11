"""Drive&Segment on Waymo's perception dataset: proposals from the roof lidar for five cameras.

The files of mmdet3d's converter hold the points of all five lidars in the vehicle's frame, without rings. Points of
the other lidars are treated as if the roof lidar had measured them; points above and below its beams are left out.
"""

_base_ = ['../_base_/datasets/waymo_paired.py', '../_base_/methods/drive_and_segment_labels.py']

proposals = dict(
    # x, y, z, intensity, elongation, timestamp
    load_points=dict(type='peridot.LoadPoints', load_dim=6, use_dim=4),
    sensor=dict(
        columns=2650,
        # evenly spaced; the records of the dataset hold each beam's own (beam_inclinations): put them here
        elevations=[2.4 - 20.0 / 63 * beam for beam in range(64)],
        # position of the roof lidar, from the vehicle's rear axle
        origin=(1.43, 0.0, 2.184),
    ),
)
