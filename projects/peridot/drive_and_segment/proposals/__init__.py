"""Lidar proposals: segments of a scan, and the pixels that they cover."""

from peridot.drive_and_segment.proposals.clusters import ClusterRule, cluster_cells, grid_components
from peridot.drive_and_segment.proposals.ground import GroundRule, find_ground
from peridot.drive_and_segment.proposals.lidar_proposals import LidarProposals, Segments
from peridot.drive_and_segment.proposals.range_image import (
    RangeImage,
    Sensor,
    fill_gaps,
    make_range_image,
)
from peridot.drive_and_segment.proposals.region_growing import RegionRule, grow_regions

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
]
