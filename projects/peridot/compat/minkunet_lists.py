"""MinkUNetBackbone changes the lists that it is built from.

Broken: `MinkUNetBackbone.__init__` inserts an entry into `encoder_channels` and `decoder_channels`: into its
config's lists, and into its own default arguments. A second network from the same config, or a second one with
the defaults, fails its length assertion or gets other channels.
Versions: mmdet3d 1.1 to 1.4.
Detected: `encoder_channels.insert` in the constructor's source.
Repair: the constructor receives copies of all lists, defaults included.
Delete when: mmdet3d copies its lists.
"""

import functools
import inspect
from types import ModuleType

from .records import note


def repair(module: ModuleType) -> None:
    """Repair the backbone of mmdet3d.models.backbones.minkunet_backbone."""
    backbone = module.MinkUNetBackbone
    original = backbone.__init__
    if hasattr(original, '__wrapped__') or 'encoder_channels.insert' not in inspect.getsource(original):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self, *args, **kwargs) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        settings = dict(given.arguments)
        settings.pop('self')
        original(self, **{name: list(v) if isinstance(v, list | tuple) else v for name, v in settings.items()})

    backbone.__init__ = __init__
    note('minkunet_lists', 'MinkUNetBackbone builds from copies of its channel lists')
