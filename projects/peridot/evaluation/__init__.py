"""Evaluation of pre-trained features and of segmentations."""

from peridot.evaluation.confusion import confusion_matrix
from peridot.evaluation.discovery import DiscoveryLoop
from peridot.evaluation.foreground_metric import ForegroundMetric
from peridot.evaluation.linear_probe import LinearProbe, LinearProbeLoop, fit_linear_probe
from peridot.evaluation.matched_miou import MatchedMeanIoU
from peridot.evaluation.point_seg_metric import PointSegMetric
from peridot.evaluation.zero_shot import ZeroShotLoop

__all__ = [
    'DiscoveryLoop',
    'ForegroundMetric',
    'LinearProbe',
    'LinearProbeLoop',
    'MatchedMeanIoU',
    'PointSegMetric',
    'ZeroShotLoop',
    'confusion_matrix',
    'fit_linear_probe',
]
