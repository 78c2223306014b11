"""Frozen image networks that a student learns from."""

from peridot.models.teachers.timm_teacher import TimmTeacher

__all__ = ['TimmTeacher']
