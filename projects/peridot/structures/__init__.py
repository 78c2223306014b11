"""Containers that travel from the datasets to the objectives."""

from peridot.structures.frames import Frames
from peridot.structures.pairs import NO_LABEL, Pairs
from peridot.structures.queries import Queries
from peridot.structures.views import ImageViews

__all__ = ['NO_LABEL', 'Frames', 'ImageViews', 'Pairs', 'Queries']
