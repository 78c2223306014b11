"""Time, memory and synchronizations of a training step."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

# lines of the code that are named for their synchronizations
PLACES = 8


class Stopwatch:
    """Milliseconds of named stages; waits for the device at both ends of a stage.

    Args:
        device: Of the computation.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begin = self._now()
        yield
        self._add(name, begin)

    @contextmanager
    def modules(self, **modules: nn.Module | None) -> Iterator[None]:
        """Add the time of the modules' forward passes inside the block to stages of their names."""
        handles, begins = [], {}
        for name, module in modules.items():
            if module is not None:
                before = _hook(lambda name: begins.update({name: self._now()}), name)
                after = _hook(lambda name: self._add(name, begins[name]), name)
                handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, name: str, begin: float) -> None:
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + 1000 * (self._now() - begin)

    def _now(self) -> float:
        if self.device.startswith('cuda'):
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _hook(action, name: str):
    return lambda *_: action(name)


@contextmanager
def peak_memory(device: str, found: dict) -> Iterator[None]:
    """Put `peak_gib`, the largest memory of tensors inside the block, into `found`; on a GPU only."""
    if not device.startswith('cuda'):
        yield
        return
    torch.cuda.reset_peak_memory_stats(device)
    yield
    found['peak_gib'] = torch.cuda.max_memory_allocated(device) / 2**30


@contextmanager
def synchronizations(device: str, found: dict) -> Iterator[None]:
    """Count how often the block lets the CPU wait for the GPU.

    `syncs` is put into `found`, and `syncs_at`, the lines of the code with most of them; on a GPU only.
    """
    if not device.startswith('cuda'):
        yield
        return
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode('default')
    own = [item for item in seen if 'synchronizing CUDA operation' in str(item.message)]
    places = Counter(f'{_short(item.filename)}:{item.lineno}' for item in own)
    found['syncs'] = len(own)
    found['syncs_at'] = dict(places.most_common(PLACES))


def _short(path: str) -> str:
    """The last parts of a path."""
    return '/'.join(Path(path).parts[-3:])
