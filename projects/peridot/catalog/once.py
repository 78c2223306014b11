"""ONCE's scans, read by `peridot.LidarFolder`: no info files, cameras or classes."""

from peridot.catalog.entry import CatalogEntry

ONCE = CatalogEntry(name='once', columns=('x', 'y', 'z', 'intensity'), intensity_range=(0, 255))
