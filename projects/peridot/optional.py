"""Optional packages, imported when they are used."""

import importlib
from types import ModuleType

from peridot.errors import ConfigError

# arguments of `pip install` by package
INSTALL = {
    'mmseg': 'mmsegmentation==1.2.2 ftfy regex',
    'pyarrow': 'pyarrow==25.0.1',
    'segment_anything': 'segment-anything',
    'transformers': 'transformers==4.57.6',
}


def import_package(name: str, user: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        name: The module, e.g. 'mmseg.apis'.
        user: What needs the package, for the error.

    Raises:
        ConfigError: The package, or one that it needs, is not installed, or does not fit the others.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f'{user} needs the package {error.name}: {install_command(name)}') from None
    except ImportError as error:  # one that does not fit the others
        raise ConfigError(f'{user} cannot import {name} ({error}): {install_command(name)}') from None


def install_command(name: str) -> str:
    """The command that installs the package of a module."""
    package = name.split('.', 1)[0]
    return f'pip install {INSTALL.get(package, package)}'
