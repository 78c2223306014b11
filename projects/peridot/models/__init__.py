"""The pre-trainer and what it is composed of; importing this registers all models."""

from peridot.models import objectives, segmentors, students, teachers
from peridot.models.heads import ProjectionHead
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.models.pretrainer import Pretrainer

__all__ = ['PairedDataPreprocessor', 'Pretrainer', 'ProjectionHead', 'objectives', 'segmentors', 'students', 'teachers']
