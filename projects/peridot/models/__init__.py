"""The pre-trainer and its parts; importing this package registers all models."""

from peridot.models import backbones, objectives, segmentors, students, teachers
from peridot.models.heads import DistillationHead, ProjectionHead
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.models.pretrainer import Pretrainer

__all__ = [
    'DistillationHead',
    'PairedDataPreprocessor',
    'Pretrainer',
    'ProjectionHead',
    'backbones',
    'objectives',
    'segmentors',
    'students',
    'teachers',
]
