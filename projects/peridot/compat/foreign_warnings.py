"""Warnings of other packages that a user can do nothing about.

Broken: mmengine looks for packages by setuptools' `pkg_resources`, which warns that it is deprecated. spconv's tensors
have a metaclass of torch.fx, which warns of a name that torch has changed. mmdet3d's converter of nuScenes warns of
every box that touches an image without covering a part of it, and rightly leaves it out.
Versions: mmengine up to 0.10.7 with setuptools from 67; spconv up to 2.3.8 with torch 2.13; mmdet3d up to 1.4.
Detected: by the text of the warning.
Repair: exactly these are silent.
Delete when: mmengine uses importlib.metadata, torch or spconv has changed, and mmdet3d is silent.
"""

import logging
import warnings

PKG_RESOURCES = 'pkg_resources is deprecated as an API'
TOUCHED = 'img_intersection is not an object of Polygon'
FX_TRACING = 'is_fx_tracing will return true for both fx.symbolic_trace and torch.export'
FX_LOGGER = 'torch.fx._symbolic_trace'


def apply() -> None:
    """Silence them (idempotent); imports none of the packages."""
    for text in (PKG_RESOURCES, TOUCHED):
        warnings.filterwarnings('ignore', text, UserWarning)
    logging.getLogger(FX_LOGGER).addFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(FX_TRACING)
