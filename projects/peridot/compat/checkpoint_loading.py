"""mmengine's own checkpoints are refused by torch.load since torch 2.6.

Broken: mmengine 0.10 calls `torch.load` with its defaults. Since torch 2.6 these unpickle only tensors and
plain containers, and a Runner's checkpoint also holds HistoryBuffer objects and numpy arrays and scalars in
its message hub: `resume` and `load_from` end in an UnpicklingError.
Versions: mmengine 0.10.x with torch >= 2.6.
Detected: torch's version.
Repair: the few harmless classes are put on torch's list of safe globals. `weights_only` stays on, because
checkpoints come from strangers: everything else in a pickle is refused as before. HistoryBuffer also pickles
its statistics methods, as calls of `getattr`; `getattr` itself would hand strangers everything, so its name
is given to a function that knows only these few methods.
Delete when: mmengine registers these classes itself.
"""

from collections.abc import Callable
from pickle import UnpicklingError
from types import ModuleType

import numpy as np
import torch
from packaging.version import Version

from .records import note

_done = False


def known_method(owner: type, name: str) -> Callable:
    """Stand-in for `getattr` while unpickling.

    Args:
        owner: HistoryBuffer or OneCycleParamScheduler.
        name: One of the methods that mmengine itself stores in checkpoints.

    Raises:
        UnpicklingError: Anything else was asked for.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    known = {
        HistoryBuffer: ('min', 'max', 'current', 'mean'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if not isinstance(owner, type) or name not in known.get(owner, ()):
        raise UnpicklingError(f'getattr({owner!r}, {name!r}) is refused in a checkpoint')
    return getattr(owner, name)


def safe_globals() -> list[Callable | tuple[Callable, str]]:
    """Classes and rebuild functions that checkpoints of mmengine's Runner contain besides torch's own.

    numpy 1 and numpy 2 name the rebuild functions differently; both names are accepted, so that a checkpoint
    written under one loads under the other.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    core = np.core if Version(np.__version__) < Version('2') else np._core
    rebuild = [
        (getattr(core.multiarray, function), f'{module}.multiarray.{function}')
        for function in ('_reconstruct', 'scalar')
        for module in ('numpy.core', 'numpy._core')
    ]
    plain = '?bhilqBHILQefdFD'
    dtypes = {type(np.dtype(code)) for code in plain} | {np.dtypes.StrDType, np.dtypes.BytesDType}
    classes = [HistoryBuffer, OneCycleParamScheduler, np.ndarray, np.dtype, *dtypes]
    return [*classes, *rebuild, (known_method, 'builtins.getattr')]


def repair(module: ModuleType) -> bool:
    """Allow-list the classes where torch refuses them; returns whether this call did.

    Args:
        module: The module that is going to read checkpoints.
    """
    global _done
    if _done or Version(torch.__version__) < Version('2.6'):
        return False
    torch.serialization.add_safe_globals(safe_globals())
    _done = True
    note(
        'checkpoint_loading',
        "mmengine's HistoryBuffer and numpy values are unpickled, nothing else",
    )
    return True
