"""The GPUs of this machine: one for each process, and the memory that a training takes of them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from peridot.devices import ONE_GPU_EACH, is_out_of_memory, reason_of
from peridot.errors import ConfigError, PeridotError

# where launchers state the number of a process on its machine
LOCAL_RANKS = {'pytorch': 'LOCAL_RANK', 'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}


def check_own_gpu(launcher: str) -> int:
    """Check that a machine with GPUs has one for this process; without any, processes run on the CPU.

    Args:
        launcher: What started the processes: 'pytorch' (torchrun), 'slurm', 'mpi' or 'none'.

    Returns:
        The number of GPUs.

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
    return gpus


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
            f'--resume continues ({reason_of(error)})'
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
