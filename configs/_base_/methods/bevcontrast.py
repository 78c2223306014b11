"""BEVContrast: cells of the bird's-eye view of two scans of a drive. Needs no camera and no teacher.

"BEVContrast: Self-Supervision in BEV Space for Automotive Lidar Point Clouds", 3DV 2024.
"""

heads = dict(bev=dict(type='peridot.LatentHead', channels=128))
objectives = dict(
    bev=dict(
        type='peridot.BEVCellContrast',
        head='bev',
        # in meters; trunks of detectors have cells of their own
        cell=0.6,
        reach=51.2,
        num_cells=4096,
        # the keyframe and the later one
        frames=(0, 1),
        temperature=0.07,
    )
)
# two keyframes later; of nuScenes, 1.0 s
later_frame = dict(keyframes=(2,), cameras=False)
# the released augmentation, drawn for each scan: a shift, then any rotation
shift_and_turn = [
    dict(type='peridot.ShiftPoints', std=4.0, limit=15.0),
    dict(type='mmdet3d.GlobalRotScaleTrans', rot_range=[0.0, 6.283185307179586], scale_ratio_range=[1.0, 1.0]),
]
