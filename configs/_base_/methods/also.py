"""ALSO: occupancy around every point or cell. Needs no camera and no teacher.

"ALSO: Automotive Lidar Self-supervision by Occupancy estimation", CVPR 2023.
"""

heads = dict(occupancy=dict(type='peridot.LatentHead', channels=128))
objectives = dict(
    occupancy=dict(type='peridot.OccupancyReconstruction', head='occupancy', radius=1.0, max_neighbors=32)
)
# the released augmentation: any rotation, one axis mirrored
also_augment = [
    dict(
        type='mmdet3d.GlobalRotScaleTrans',
        rot_range=[-3.141592653589793, 3.141592653589793],
        scale_ratio_range=[1.0, 1.0],
    ),
    dict(type='mmdet3d.RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.0, flip_ratio_bev_vertical=0.5),
]
# steps for a nuScenes scan, intensity 0 to 255
sparse_scan = [
    dict(type='peridot.VoxelDownsample', voxel_size=0.1),
    *also_augment,
    dict(type='peridot.SampleOccupancyQueries', num_queries=2048, intensity_scale=255.0),
    dict(type='peridot.SamplePoints', num_points=16384),
]
# steps for a scan of 64 beams, and for the trunks of detectors, intensity 0 to 1
dense_scan = [
    dict(type='peridot.VoxelDownsample', voxel_size=0.05),
    *also_augment,
    dict(type='peridot.SampleOccupancyQueries', num_queries=4096),
    dict(type='peridot.SamplePoints', num_points=80000),
]
occupancy_picture = dict(type='peridot.OccupancyPictureHook')
