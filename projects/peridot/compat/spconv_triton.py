"""No spconv that fits this torch on GPU: spconv-triton stands in for it.

Broken: spconv is no longer maintained, its CUDA wheels exist for few versions of CUDA and Python, and its CPU
wheel cannot compute on a GPU. mmdet3d imports the module `spconv` by name.
Versions: spconv up to 2.3.8; spconv-triton 1.0 (same API, weights and layout; torch 2.4 to 2.13, GPU only).
Detected: `spconv_triton` is installed, and `spconv` is absent, or torch sees a GPU and `spconv` cannot be
imported or is the CPU build.
Repair: the modules of `spconv_triton` are entered as `spconv` and its submodules when an import of spconv begins.
The top module is a new one, because mmdet3d accepts spconv from version 2 only and spconv-triton counts its
own versions.
Delete when: mmdet3d finds spconv-triton itself, or spconv is maintained again.
"""

import importlib
import pkgutil
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import torch

from .on_import import Made
from .records import note


def unfit_reason() -> str | None:
    """Why the installed spconv does not work on this machine; None if it does, or if there is no GPU."""
    if find_spec('spconv') is None:
        return 'spconv is not installed'
    if not torch.cuda.is_available():
        return None
    try:
        build = importlib.import_module('spconv.cppconstants')
    except (ImportError, OSError, RuntimeError) as error:
        _forget('spconv')
        return f'spconv cannot be imported ({str(error).splitlines()[0]})'
    if build.CPU_ONLY_BUILD:
        _forget('spconv')
        return 'the installed spconv is the CPU build'
    return None


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + '.')]:
        del sys.modules[name]


def stand_in(package: ModuleType, name: str) -> None:
    """Enter `package` and all its submodules in `sys.modules` as `name`.

    Args:
        package: spconv_triton.
        name: 'spconv'. The top module is new: `package`'s public names, with spconv's version.
    """
    top = ModuleType(name, package.__doc__)
    top.__dict__.update({key: value for key, value in vars(package).items() if not key.startswith('_')})
    top.__version__ = '.'.join(map(str, package.SPCONV_VERSION_NUMBERS))
    top.__spec__ = ModuleSpec(name, Made(top), is_package=True)
    top.__path__ = []
    modules = {name: top}
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        if not info.name.endswith('test_utils'):
            modules[name + info.name.removeprefix(package.__name__)] = importlib.import_module(info.name)
    for alias, module in modules.items():
        if alias.count('.') == 1:
            setattr(top, alias.rpartition('.')[2], module)
    sys.modules.update(modules)


def apply() -> bool:
    """Let spconv-triton stand in where spconv does not fit; returns whether this call did."""
    if 'spconv' in sys.modules or find_spec('spconv_triton') is None:
        return False
    reason = unfit_reason()
    if reason is None:
        return False
    try:
        package = importlib.import_module('spconv_triton')
        stand_in(package, 'spconv')
    except ImportError as error:
        note('spconv_triton', f'{reason}, and spconv-triton cannot be imported either ({error})')
        return False
    note('spconv_triton', f'sparse convolution by spconv-triton {package.__version__}, because {reason}')
    return True
