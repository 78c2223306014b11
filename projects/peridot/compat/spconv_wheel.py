"""A spconv that cannot be imported on a machine with a GPU, reported in one line.

mmdet3d would go on with mmcv's layers of the same names, whose weights have another layout. Not a repair of one
version: keep this file.
"""

import importlib
from importlib.util import find_spec
from types import ModuleType

import torch

from peridot.errors import PeridotError


def check(layers: ModuleType) -> None:
    """Raise PeridotError on a machine with a GPU whose spconv cannot be imported, such as a wheel for another CUDA.

    Args:
        layers: The module `mmdet3d.models.layers.spconv`.
    """
    # elsewhere, as on a login node, the same environment may serve those with one
    if layers.IS_SPCONV2_AVAILABLE or find_spec('spconv') is None or not torch.cuda.is_available():
        return
    try:
        importlib.import_module('spconv.pytorch')
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise PeridotError(
            f'spconv cannot be imported ({reason}): install a wheel for the CUDA of this machine, such as '
            'spconv-cu120, or: pip uninstall spconv and pip install spconv-triton'
        ) from error
