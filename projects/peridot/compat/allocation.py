"""glibc gives the memory of large tensors back to the system at once.

Broken: `malloc` maps every block above 32 MB anew and trims the heap after smaller ones, so that networks on CPU touch
fresh pages, which the system has to clear, in every layer of every step.
Versions: glibc 2.36, torch 2.13 (`import torch` sets no threshold of its own).
Detected: the C library is glibc and there is no CUDA device.
Repair: freed memory up to 1 GiB stays in the process.
Delete when: torch keeps freed CPU memory itself.
"""

import ctypes
import platform
from types import ModuleType

import torch

from .records import note

# parameters of mallopt(3), and their new value in bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30


def repair(module: ModuleType) -> bool:
    """Let glibc keep freed memory; returns whether this call arranged it.

    Args:
        module: What networks are built with. Before its import, the many blocks that imports need for a moment would
            lie between those that are kept.
    """
    if platform.libc_ver()[0] != 'glibc' or torch.cuda.is_available():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    if not (mallopt(M_TRIM_THRESHOLD, KEPT) and mallopt(M_MMAP_THRESHOLD, KEPT)):
        return False
    note('allocation', 'freed memory up to 1 GiB stays in the process, which saves page faults on CPU')
    return True
