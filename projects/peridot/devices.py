"""What goes wrong with GPUs, drivers, memory and the network between processes, in one line each."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import cv2
import torch

from peridot.errors import ConfigError, PeridotError

# what libraries say that have no class of error for it: torch on the CPU, CUDA, cuBLAS and cuDNN, OpenCV
OUT_OF_MEMORY = ("can't allocate memory", 'out of memory', 'STATUS_ALLOC_FAILED', 'Insufficient memory')
# where launchers state the number of a process on its machine
LOCAL_RANKS = {'pytorch': 'LOCAL_RANK', 'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}
ONE_GPU_EACH = 'start no more processes than it has, and let each of them see all (CUDA_VISIBLE_DEVICES)'
# texts of CUDA, spconv, NCCL and torch, and the way out; special ones first
HINTS = {
    'no kernel image is available': 'torch, mmcv or spconv was not compiled for this GPU: install builds for it; '
    'spconv-triton compiles its kernels where it runs',
    'CUDA driver version is insufficient': 'update the NVIDIA driver, or install torch and spconv for an older CUDA',
    'CPU ONLY build|cpu-only spconv|spconv not (built|compiled) with cuda': 'the installed spconv is the CPU build: '
    'pip uninstall spconv, then install a wheel for your CUDA, such as spconv-cu120, or spconv-triton',
    'busy or unavailable': 'another process has this GPU to itself: choose others with CUDA_VISIBLE_DEVICES',
    'invalid device ordinal|Duplicate GPU detected': f'each process needs its own GPU: {ONE_GPU_EACH}',
    'remote process exited': 'another process ended first: see its message',
    'NCCL error': 'GPUs or machines cannot reach each other: NCCL_DEBUG=INFO before the same command says why; '
    'NCCL_SOCKET_IFNAME chooses the network, and a container may need more shared memory',
    'EADDRINUSE': 'the port is in use, perhaps by another training: put PORT=29511 before tools/dist_train.sh '
    '(MASTER_PORT for other launchers)',
    'timed out .*trying to connect|waiting for clients': 'not all processes have come: start the command on '
    'every machine, with the same MASTER_ADDR and PORT and its own NODE_RANK',
    r'worker \(pid.*\) is killed by signal: (Killed|Bus error)': 'the memory of this machine ran out: set fewer '
    'train_dataloader.num_workers; a container may need more shared memory',
}


def device_line(error: BaseException) -> str | None:
    """The line for an error of CUDA, NCCL, memory or the network; None for others."""
    if is_out_of_memory(error):
        return f'memory ran out ({_reason(error)}): set a smaller batch or smaller inputs, or free memory'
    if not isinstance(error, RuntimeError):
        return None
    # all lines for one text after the other: what NCCL says last is more than that it failed
    for text, hint in HINTS.items():
        # torch's loader says with the cause what became of a worker
        for line in f'{error}\n{error.__cause__ or ""}'.splitlines():
            if re.search(text, line, re.I):
                return f'{line.strip().rstrip(".")}: {hint}'
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of numpy, PIL, OpenCV or torch says that memory ran out."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | cv2.error) and any(text in str(error) for text in OUT_OF_MEMORY)


def check_own_gpu(launcher: str) -> None:
    """Check that a machine with GPUs has one for this process; without any, processes run on the CPU.

    Args:
        launcher: What started the processes: 'pytorch' (torchrun), 'slurm', 'mpi' or 'none'.

    Raises:
        ConfigError: There are more processes than GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    local_rank = int(os.environ.get(LOCAL_RANKS.get(launcher, ''), 0))
    if gpus and local_rank >= gpus:
        raise ConfigError(
            f'process {local_rank + 1} of this machine finds {gpus} GPU{"s" * (gpus > 1)} (launcher {launcher}): '
            f'{ONE_GPU_EACH}'
        )


@contextmanager
def memory_of_training(config: Mapping[str, Any]) -> Iterator[None]:
    """Let a training that runs out of memory end in one line.

    Args:
        config: Config of the run.

    Raises:
        PeridotError: It did; with the memory that it took, and the settings that lower it.
    """
    try:
        yield
    except Exception as error:
        # a MemoryError is one of the processor's, often of a process that reads samples
        if isinstance(error, MemoryError) or not is_out_of_memory(error):
            raise
        size = config['train_dataloader'].get('batch_size')
        raise PeridotError(
            f'memory ran out with batches of {size} samples a process{_peak()}: set {_ways_out(config, size)}; '
            f'--resume continues ({_reason(error)})'
        ) from error


def _peak() -> str:
    """The most that tensors took on this process's GPU."""
    if not torch.cuda.is_available():
        return ''
    total = torch.cuda.mem_get_info()[1]
    return f', tensors took up to {torch.cuda.max_memory_allocated() / 2**30:.1f} of {total / 2**30:.1f} GiB'


def _ways_out(config: Mapping[str, Any], size: int | None) -> str:
    """Settings that lower the memory of a step."""
    model, wrapper = config.get('model') or {}, config.get('optim_wrapper') or {}
    ways = [f'train_dataloader.batch_size={size // 2} (--cfg-options)'] if size and size > 1 else []
    ways += ['--amp'] if wrapper.get('type') != 'AmpOptimWrapper' else []
    ways += ['fewer points (max_points, num_points) or pairs (num_pairs)']
    teacher = model.get('teacher') or {}
    if teacher and teacher.get('type') != 'peridot.StoredTeacher':
        ways.append('stored features of the teacher (tools/make_teacher_features.py)')
    return ', or '.join(ways)


def _reason(error: BaseException) -> str:
    """First sentence of an error."""
    return re.split(r'\. |\n', str(error).strip() or type(error).__name__)[0].rstrip('.')
