"""Peridot: image-lidar self-supervised pre-training for MMDetection3D."""

from peridot import compat

__version__ = '0.1.0'

compat.apply()
