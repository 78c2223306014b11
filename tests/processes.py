"""Processes that a test starts: forks of its own, whose imports are done."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# until processes that wait for each other fail
TIMEOUT = timedelta(seconds=60)


def in_processes(work: Callable, count: int, folder: Path) -> list[Any]:
    """What `work(rank)` gives in every process of a group that exchanges by gloo; `folder` is empty."""
    mp.start_processes(_join, (work, count, folder), count, start_method='fork')
    return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(count)]


def _join(rank: int, work: Callable, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f'file://{folder}/rendezvous'
    dist.init_process_group('gloo', init_method=meeting, rank=rank, world_size=count, timeout=TIMEOUT)
    torch.save(work(rank), folder / f'{rank}.pt')
    dist.barrier()
    # tearing down DDP and gloo can hang in the destructors; everything is saved
    os._exit(0)
