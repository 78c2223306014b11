"""Containers that travel from the datasets to the objectives."""

from peridot.structures.pairs import IGNORE_LABEL, Pairs, inside_boxes

__all__ = ['IGNORE_LABEL', 'Pairs', 'inside_boxes']
