"""Containers that travel from the datasets to the objectives."""

from peridot.structures.pairs import IGNORE_LABEL, Pairs
from peridot.structures.queries import Queries
from peridot.structures.views import ImageViews

__all__ = ['IGNORE_LABEL', 'ImageViews', 'Pairs', 'Queries']
