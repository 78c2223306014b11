"""Counts the operations of a block that make the host wait for a GPU, while everything runs on the CPU."""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peridot
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

PACKAGE = f'{Path(peridot.__file__).parent}/'
# operators whose result has a size that the host must know, or is a number on the host
WAITING = {
    '_local_scalar_dense',
    'bincount',
    'equal',
    'is_nonzero',
    'masked_select',
    'nonzero',
    'unique_consecutive',
    'unique_dim',
    '_unique',
    '_unique2',
}
# methods that copy to the host; on the CPU they call no operator
COPYING = {'tolist', 'numpy', 'cpu', '__array__'}
INDEXING = {'index', 'index_put', 'index_put_', '_index_put_impl_'}
# code that a GPU does not run, as spconv has its own there, and code that reads a batch before it is moved to the GPU
ON_CPU_ONLY = ('compat/spconv_cpu.py', 'models/functional/neighbors.py', 'models/preprocessor.py')


class _Operators(TorchDispatchMode):
    def __init__(self, found: Counter) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, kwargs = function.overloadpacket.__name__, kwargs or {}
        sized = name == 'repeat_interleave' and kwargs.get('output_size') is None
        masks = name in INDEXING and any(isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in args[1])
        if name in WAITING or sized or masks:
            _count(self.found, 'mask as index' if masks else name)
        return function(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, found: Counter) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, '__name__', '') in COPYING:
            _count(self.found, function.__name__)
        return function(*args, **(kwargs or {}))


def _count(found: Counter, name: str) -> None:
    """Count an operation at the line of ours, or else of a package, that calls it; a backward pass has none."""
    frames = [frame for frame in traceback.extract_stack() if frame.filename != __file__]
    ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    if not frames:
        found[f'{name} in a backward pass'] += 1
    elif not (frame := (ours or frames)[-1]).filename.endswith(ON_CPU_ONLY):
        found[f'{frame.filename.removeprefix(PACKAGE)}:{frame.lineno} {name}: {frame.line}'] += 1


@contextmanager
def counted() -> Iterator[Counter]:
    """A counter of waiting operations by line of code, filled inside the block."""
    found = Counter()
    with _Methods(found), _Operators(found):
        yield found
