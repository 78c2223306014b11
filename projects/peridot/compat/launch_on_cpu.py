"""mmengine's PyTorch launcher asks for a GPU.

Broken: `init_dist('pytorch')` calls `torch.cuda.set_device`, which raises where torch has no CUDA, so several
processes cannot train on CPU even with `backend='gloo'`.
Versions: mmengine up to 0.10.7.
Detected: no CUDA device at the time of the call.
Repair: without a CUDA device the process group starts with gloo. Machines with GPUs go mmengine's way.
Delete when: mmengine starts gloo groups on CPU.
"""

import functools
from types import ModuleType

import torch

from .records import note


def repair(module: ModuleType) -> None:
    """Repair the launcher of mmengine.dist.utils."""
    original = module._init_dist_pytorch
    if hasattr(original, '__wrapped__') or torch.cuda.is_available():
        return

    @functools.wraps(original)
    def _init_dist_pytorch(backend: str, init_backend: str = 'torch', **kwargs) -> None:
        torch.distributed.init_process_group(backend='gloo', **kwargs)
        note('launch_on_cpu', 'processes exchange tensors by gloo, there is no CUDA device')

    module._init_dist_pytorch = _init_dist_pytorch
