"""Waymo's perception dataset as mmdet3d's converter lays it out; classes of its points are not read."""

from peridot.catalog.entry import CatalogEntry

WAYMO = CatalogEntry(
    name='waymo',
    columns=('x', 'y', 'z', 'intensity', 'elongation', 'timestamp'),
    cameras={
        'CAM_FRONT': 'training/image_0',
        'CAM_FRONT_LEFT': 'training/image_1',
        'CAM_FRONT_RIGHT': 'training/image_2',
        'CAM_SIDE_LEFT': 'training/image_3',
        'CAM_SIDE_RIGHT': 'training/image_4',
    },
    figure_cameras=('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_SIDE_LEFT', 'CAM_SIDE_RIGHT'),
    front_camera='CAM_FRONT',
)
