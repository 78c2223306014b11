"""Peridot: image-lidar self-supervised pre-training for MMDetection3D."""

from peridot import compat

__version__ = '0.1.0'

compat.apply()

# it imports mmengine, which compat looks for first
from peridot.shipped import register_scope  # noqa: E402

register_scope()
