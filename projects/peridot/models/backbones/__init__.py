"""Networks that mmdet3d lacks, called as its own."""

from peridot.models.backbones.waffleiron import WaffleIron

__all__ = ['WaffleIron']
