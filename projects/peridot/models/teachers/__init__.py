"""Frozen image networks that a student learns from."""

from peridot.models.teachers.maskclip_teacher import MaskClipTeacher
from peridot.models.teachers.siglip_teacher import SiglipTeacher
from peridot.models.teachers.stored_teacher import StoredTeacher
from peridot.models.teachers.timm_teacher import TimmTeacher

__all__ = ['MaskClipTeacher', 'SiglipTeacher', 'StoredTeacher', 'TimmTeacher']
