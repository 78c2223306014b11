"""Missing or unsuitable OpenMMLab packages, reported in one line with the command that fixes it.

mmdet and mmdet3d refuse mmcv 2.2 with a bare assertion deep inside their import, and mmcv without (fitting)
compiled operators fails even later. Not a repair of one version: keep this file.
"""

import importlib
import importlib.metadata
from importlib.util import find_spec
from types import ModuleType

from packaging.specifiers import SpecifierSet

from peridot.errors import PeridotError

# The ranges that mmdet3d 1.4 asserts at import, narrowed to what this package is tested with.
RANGES = {
    'mmengine': '>=0.10.4,<0.11',
    'mmcv': '>=2.0.0rc4,<2.2.0',
    'mmdet': '>=3.0.0,<3.4.0',
    'mmdet3d': '>=1.4.0,<1.5.0',
}
_MMCV_COMMAND = "run 'make env', or: pip install --no-build-isolation 'mmcv>=2.0.0rc4,<2.2.0'"


def check_package(name: str, required: str) -> None:
    """Raise PeridotError where package `name` is missing or its version lies outside `required`."""
    command = _MMCV_COMMAND if name == 'mmcv' else f"run 'make env', or: pip install '{name}{required}'"
    if find_spec(name) is None:
        raise PeridotError(f'{name} is not installed, {name}{required} is needed: {command}')
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return  # a source tree on the path or mmcv-lite; the operators are checked below
    if not SpecifierSet(required).contains(version, prereleases=True):
        raise PeridotError(f'{name} {version} does not fit, {name}{required} is needed: {command}')


def check_operators(mmcv: ModuleType) -> None:
    """Raise PeridotError where mmcv's compiled operators are absent or were compiled for another torch."""
    try:
        importlib.import_module(f'{mmcv.__name__}._ext')
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise PeridotError(
            f'mmcv has no compiled operators that fit this torch ({reason}), '
            f'mmcv{RANGES["mmcv"]} compiled against it is needed: {_MMCV_COMMAND}'
        ) from error


def check() -> None:
    """Check the versions of OpenMMLab's packages; imports none of them.

    Raises:
        PeridotError: One line with the package, the range and the command.
    """
    for name, required in RANGES.items():
        check_package(name, required)
