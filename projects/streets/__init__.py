"""The embedded default: a procedural street world, ray-cast into a dataset in nuScenes format."""

from streets.dataset import make_dataset

__all__ = ['make_dataset']
