"""Networks that mmdet3d lacks, called as its own."""

from peridot.models.backbones.res16unet import Res16UNet
from peridot.models.backbones.waffleiron import WaffleIron

__all__ = ['Res16UNet', 'WaffleIron']
