"""Evaluation of pre-trained features and of segmentations."""

from peridot.evaluation.linear_probe import LinearProbe, LinearProbeLoop, fit_linear_probe
from peridot.evaluation.point_seg_metric import PointSegMetric, confusion_matrix

__all__ = ['LinearProbe', 'LinearProbeLoop', 'PointSegMetric', 'confusion_matrix', 'fit_linear_probe']
