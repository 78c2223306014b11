"""KITTI's object benchmark with its left color camera; its points have no classes."""

from peridot.catalog.entry import CatalogEntry, Converter

KITTI = CatalogEntry(
    name='kitti',
    columns=('x', 'y', 'z', 'intensity'),
    intensity_range=(0, 1),
    cameras={'CAM2': 'training/image_2'},
    figure_cameras=('CAM2',),
    front_camera='CAM2',
    split_rules=('random', 'stride'),
    split_unit='frames',
    converter=Converter(
        'kitti',
        'ImageSets/ and training/',
        'peridot.datasets.create_infos_kitti:create_kitti_infos',
        ('ImageSets', *(f'*ing/{name}' for name in ('velodyne', 'image_[0-3]', 'calib', 'label_[0-3]', 'planes'))),
    ),
    detection=dict(type='mmdet3d.KittiDataset', data_prefix=dict(pts='training/velodyne_reduced')),
)
