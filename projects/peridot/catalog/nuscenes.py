"""nuScenes with the 16 classes of its lidar segmentation challenge."""

from peridot.catalog.entry import CatalogEntry, Converter, PointClass

# splits of each published part
VERSIONS = {'v1.0-mini': ('train', 'val'), 'v1.0-trainval': ('train', 'val'), 'v1.0-test': ('test',)}

# raw ids are rows of nuScenes' own 32 lidarseg categories
CLASSES = (
    PointClass('barrier', (112, 128, 144), (9,), foreground=True),
    PointClass('bicycle', (220, 20, 60), (14,), foreground=True),
    PointClass('bus', (255, 127, 80), (15, 16), foreground=True),
    PointClass('car', (255, 158, 0), (17,), foreground=True),
    PointClass('construction_vehicle', (233, 150, 70), (18,), foreground=True),
    PointClass('motorcycle', (255, 61, 99), (21,), foreground=True),
    PointClass('pedestrian', (0, 0, 230), (2, 3, 4, 6), foreground=True),
    PointClass('traffic_cone', (47, 79, 79), (12,), foreground=True),
    PointClass('trailer', (255, 140, 0), (22,), foreground=True),
    PointClass('truck', (255, 99, 71), (23,), foreground=True),
    PointClass('driveable_surface', (0, 207, 191), (24,)),
    PointClass('other_flat', (175, 0, 75), (25,)),
    PointClass('sidewalk', (75, 0, 75), (26,)),
    PointClass('terrain', (112, 180, 60), (27,)),
    PointClass('manmade', (222, 184, 135), (28,)),
    PointClass('vegetation', (0, 175, 0), (30,)),
)

NUSCENES = CatalogEntry(
    name='nuscenes',
    columns=('x', 'y', 'z', 'intensity', 'ring'),
    intensity_range=(0, 255),
    classes=CLASSES,
    ignored_ids=(0, 1, 5, 7, 8, 10, 11, 13, 19, 20, 29, 31),
    cameras={
        'CAM_FRONT': 'samples/CAM_FRONT',
        'CAM_FRONT_RIGHT': 'samples/CAM_FRONT_RIGHT',
        'CAM_BACK_RIGHT': 'samples/CAM_BACK_RIGHT',
        'CAM_BACK': 'samples/CAM_BACK',
        'CAM_BACK_LEFT': 'samples/CAM_BACK_LEFT',
        'CAM_FRONT_LEFT': 'samples/CAM_FRONT_LEFT',
    },
    figure_cameras=(
        'CAM_FRONT_LEFT',
        'CAM_FRONT',
        'CAM_FRONT_RIGHT',
        'CAM_BACK_LEFT',
        'CAM_BACK',
        'CAM_BACK_RIGHT',
    ),
    front_camera='CAM_FRONT',
    split_rules=('slidr', 'also', 'random'),
    split_unit='scenes',
    converter=Converter(
        'nuscenes',
        'samples/, sweeps/ and v1.0-*/',
        'peridot.datasets.create_infos:create_nuscenes_infos',
        ('samples', 'sweeps', 'maps', 'lidarseg', *VERSIONS),
        {
            '--version': dict(default='v1.0-trainval', choices=list(VERSIONS)),
            '--max-sweeps': dict(type=int, default=10, help='earlier sweeps listed a sample (10)'),
        },
    ),
    detection=dict(
        type='mmdet3d.NuScenesDataset',
        data_prefix=dict(pts='samples/LIDAR_TOP', img='', sweeps='sweeps/LIDAR_TOP'),
        use_valid_flag=True,
    ),
)
