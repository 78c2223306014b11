"""Segmentation downstream: mmdet3d's segmentors, fed and trained as the papers do."""

from peridot.models.segmentors.linear_probe import LinearProbeSegmentor
from peridot.models.segmentors.point_seg_head import PointSegHead
from peridot.models.segmentors.preprocessor import SegPreprocessor, TokenSegPreprocessor

__all__ = ['LinearProbeSegmentor', 'PointSegHead', 'SegPreprocessor', 'TokenSegPreprocessor']
