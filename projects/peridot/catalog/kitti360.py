"""KITTI-360's raw scans, read by `peridot.LidarFolder`: no info files, cameras or classes."""

from peridot.catalog.entry import CatalogEntry

KITTI360 = CatalogEntry(name='kitti360', columns=('x', 'y', 'z', 'intensity'), intensity_range=(0, 1))
