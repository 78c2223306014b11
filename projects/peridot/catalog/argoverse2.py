"""Argoverse 2's Sensor Dataset with its seven ring cameras; its points have no classes."""

from peridot.catalog.entry import CatalogEntry, Converter

ARGOVERSE2 = CatalogEntry(
    name='argoverse2',
    columns=('x', 'y', 'z', 'intensity'),
    intensity_range=(0, 255),
    # info files give whole paths: each log has its own folders
    cameras={
        'ring_front_center': '',
        'ring_front_left': '',
        'ring_front_right': '',
        'ring_rear_left': '',
        'ring_rear_right': '',
        'ring_side_left': '',
        'ring_side_right': '',
    },
    figure_cameras=(
        'ring_front_left',
        'ring_front_center',
        'ring_front_right',
        'ring_side_left',
        'ring_rear_left',
        'ring_rear_right',
        'ring_side_right',
    ),
    front_camera='ring_front_center',
    converter=Converter(
        'argoverse2',
        'train/, val/ and test/ (those that are there)',
        'peridot.datasets.create_infos_argoverse2:create_argoverse2_infos',
        ('train/*', 'val/*', 'test/*'),
        {
            '--every': dict(type=int, default=5, metavar='N', help='take every N-th sweep of 10 a second (5)'),
            '--tolerance': dict(
                type=float, default=0.03, metavar='SECONDS', help='longest time from a sweep to its images (0.03)'
            ),
        },
    ),
)
