"""SemanticKITTI with the 19 classes of its single-scan benchmark and the left color camera of KITTI's odometry."""

from peridot.catalog.entry import CatalogEntry, Converter, PointClass

# names as mmdet3d spells them; ids above 251 are those of moving objects
CLASSES = (
    PointClass('car', (100, 150, 245), (10, 252), foreground=True),
    PointClass('bicycle', (100, 230, 245), (11,), foreground=True),
    PointClass('motorcycle', (30, 60, 150), (15,), foreground=True),
    PointClass('truck', (80, 30, 180), (18, 258), foreground=True),
    PointClass('bus', (100, 80, 250), (13, 16, 20, 256, 257, 259), foreground=True),
    PointClass('person', (155, 30, 30), (30, 254), foreground=True),
    PointClass('bicyclist', (255, 40, 200), (31, 253), foreground=True),
    PointClass('motorcyclist', (150, 30, 90), (32, 255), foreground=True),
    PointClass('road', (255, 0, 255), (40, 60)),
    PointClass('parking', (255, 150, 255), (44,)),
    PointClass('sidewalk', (75, 0, 75), (48,)),
    PointClass('other-ground', (175, 0, 75), (49,)),
    PointClass('building', (255, 200, 0), (50,)),
    PointClass('fence', (255, 120, 50), (51,)),
    PointClass('vegetation', (0, 175, 0), (70,)),
    PointClass('trunck', (135, 60, 0), (71,)),
    PointClass('terrian', (150, 240, 80), (72,)),
    PointClass('pole', (255, 240, 150), (80,)),
    PointClass('traffic-sign', (255, 0, 0), (81,)),
)

SEMANTICKITTI = CatalogEntry(
    name='semantickitti',
    columns=('x', 'y', 'z', 'intensity'),
    intensity_range=(0, 1),
    classes=CLASSES,
    ignored_ids=(0, 1, 52, 99),
    # info files give whole paths: each sequence has its own folder
    cameras={'CAM2': ''},
    figure_cameras=('CAM2',),
    front_camera='CAM2',
    split_rules=('slidr', 'random'),
    split_unit='scans',
    converter=Converter(
        'semantickitti',
        'sequences/',
        'peridot.datasets.create_infos_semantickitti:create_semantickitti_infos',
        ('sequences',),
    ),
)
