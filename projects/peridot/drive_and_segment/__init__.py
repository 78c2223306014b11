"""Drive&Segment: semantic segmentation of images without labels, from cameras and lidar."""

from peridot.drive_and_segment.clusters import ClusterRule, cluster_cells, grid_components, surface_angle
from peridot.drive_and_segment.ground import GroundRule, find_ground
from peridot.drive_and_segment.proposals import LidarProposals, Segments
from peridot.drive_and_segment.range_image import RangeImage, Sensor, fill_gaps, make_range_image
from peridot.drive_and_segment.regions import RegionRule, grow_regions

__all__ = [
    'ClusterRule',
    'GroundRule',
    'LidarProposals',
    'RangeImage',
    'RegionRule',
    'Segments',
    'Sensor',
    'cluster_cells',
    'fill_gaps',
    'find_ground',
    'grid_components',
    'grow_regions',
    'make_range_image',
    'surface_angle',
]
