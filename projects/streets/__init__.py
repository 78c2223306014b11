"""A procedural street world, ray-cast into a dataset in the layout of nuScenes, SemanticKITTI, KITTI or PandaSet."""

from streets.dataset import make_dataset

__all__ = ['make_dataset']
