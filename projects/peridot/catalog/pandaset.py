"""PandaSet, each of its two lidars a dataset, with 17 classes grouped as in ScaLR's released code."""

from dataclasses import replace

from peridot.catalog.entry import CatalogEntry, Converter, PointClass

# raw ids are PandaSet's own; 0 stands for points without label
CLASSES = (
    PointClass('road', (128, 64, 128), (7,)),
    PointClass('traffic_sign', (220, 220, 0), (36, 38)),
    PointClass('barrier', (112, 128, 144), (35, 39)),
    PointClass('pedestrian', (220, 20, 60), (30, 31)),
    PointClass('vegetation', (107, 142, 35), (5,)),
    PointClass('road_marking', (230, 230, 230), (8, 9, 10)),
    PointClass('sidewalk', (244, 35, 232), (11,)),
    PointClass('manmade', (222, 184, 135), (41, 42)),
    PointClass('traffic_cone', (255, 140, 0), (34, 37)),
    PointClass('car', (0, 0, 142), (13,)),
    PointClass('motorcycle', (0, 0, 230), (18,)),
    PointClass('truck', (0, 0, 70), (14, 15, 16)),
    PointClass('bus', (0, 60, 100), (23,)),
    PointClass('bicycle', (119, 11, 32), (26,)),
    PointClass('other_vehicle', (0, 80, 130), (17, 19, 20, 21, 27, 28, 29)),
    PointClass('ground', (152, 251, 152), (6,)),
    PointClass('driveway', (250, 170, 160), (12,)),
)

# folders of a sequence
PARTS = ('lidar', 'camera', 'annotations', 'meta')

PANDAR64 = CatalogEntry(
    name='pandar64',
    columns=('x', 'y', 'z', 'intensity'),
    intensity_range=(0, 255),
    classes=CLASSES,
    ignored_ids=(0, 1, 2, 3, 4, 22, 24, 25, 32, 33, 40),
    # info files give whole paths: each sequence has its own folders
    cameras={
        'back_camera': '',
        'front_camera': '',
        'front_left_camera': '',
        'front_right_camera': '',
        'left_camera': '',
        'right_camera': '',
    },
    figure_cameras=(
        'front_left_camera',
        'front_camera',
        'front_right_camera',
        'left_camera',
        'back_camera',
        'right_camera',
    ),
    front_camera='front_camera',
    converter=Converter(
        'pandaset',
        '001/, 002/, ...',
        'peridot.datasets.create_infos_pandaset:create_pandaset_infos',
        tuple(f'{above}[0-9][0-9][0-9]/{name}' for above in ('', '*/') for name in PARTS),
    ),
)
PANDARGT = replace(PANDAR64, name='pandargt')
# in the order of their numbers in PandaSet's tables of points
LIDARS = (PANDAR64, PANDARGT)
