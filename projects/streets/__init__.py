"""A procedural street world, ray-cast into a dataset in the layout of a published one (`formats.FORMATS`)."""

from streets.dataset import make_dataset

__all__ = ['make_dataset']
