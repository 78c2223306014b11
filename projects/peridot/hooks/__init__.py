"""Hooks of the runner, and its training loop."""

from peridot.hooks.check_checkpoint import CheckCheckpointHook
from peridot.hooks.duration import DurationHook
from peridot.hooks.ema_teacher import EMATeacherHook
from peridot.hooks.export_backbone import ExportBackboneHook, export_backbone, export_checkpoint
from peridot.hooks.feature_picture import FeaturePictureHook
from peridot.hooks.interruption import InterruptionHook
from peridot.hooks.occupancy_picture import OccupancyPictureHook
from peridot.hooks.resume import ResumeHook
from peridot.hooks.skip_overflow import SkipOverflowHook
from peridot.hooks.train_loop import TrainLoop
from peridot.hooks.verify_loading import VerifyLoadingHook

__all__ = [
    'CheckCheckpointHook',
    'DurationHook',
    'EMATeacherHook',
    'ExportBackboneHook',
    'FeaturePictureHook',
    'InterruptionHook',
    'OccupancyPictureHook',
    'ResumeHook',
    'SkipOverflowHook',
    'TrainLoop',
    'VerifyLoadingHook',
    'export_backbone',
    'export_checkpoint',
]
