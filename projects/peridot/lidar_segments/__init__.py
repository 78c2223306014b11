"""Segments of two lidar scans of a drive, found without labels (tools/make_lidar_segments.py)."""

from peridot.lidar_segments.clustering import SegmentRule, find_segments
from peridot.lidar_segments.make import make_lidar_segments

__all__ = ['SegmentRule', 'find_segments', 'make_lidar_segments']
