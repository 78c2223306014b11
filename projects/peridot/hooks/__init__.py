"""Hooks of the runner."""

from peridot.hooks.check_checkpoint import CheckCheckpointHook
from peridot.hooks.export_backbone import ExportBackboneHook, export_backbone, export_checkpoint
from peridot.hooks.feature_picture import FeaturePictureHook

__all__ = [
    'CheckCheckpointHook',
    'ExportBackboneHook',
    'FeaturePictureHook',
    'export_backbone',
    'export_checkpoint',
]
