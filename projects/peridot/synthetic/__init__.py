"""The embedded default: a procedural street world, ray-cast into a dataset in nuScenes format."""

from peridot.synthetic.dataset import make_dataset

__all__ = ['make_dataset']
