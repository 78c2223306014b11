"""Processes that make maps together start, fail and warn as one."""

import os
from collections.abc import Callable

import torch
from mmengine import dist
from mmengine.logging import MMLogger

from peridot.devices import check_own_gpu
from peridot.errors import DataError, PeridotError

# number of maps that a warning names
LISTED = 10


def start_distributed() -> None:
    """Join the other processes if torchrun started this one.

    Raises:
        ConfigError: There are more processes on this machine than GPUs.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and not dist.is_distributed():
        check_own_gpu('pytorch')
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
        # only small python objects are exchanged
        torch.distributed.init_process_group('gloo')


def in_first_process(action: Callable[[], None]) -> None:
    """Run `action` in the first process while the others wait; its error is raised in all of them."""
    problem = [None]
    if dist.is_main_process():
        try:
            action()
        except PeridotError as error:
            problem = [error]
    dist.broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]


def raise_together(failures: list[str], total: int) -> None:
    """Raise one error in all processes if any of them had failures."""
    failures = [failure for part in dist.all_gather_object(failures) for failure in part]
    if failures:
        more = f' (and {len(failures) - 1} more of {total} images)' if len(failures) > 1 else ''
        raise DataError(f'{failures[0]}{more}; the other maps are done, the same command makes the rest')


def warn_together(items: list[str], what: str) -> None:
    """Log one warning, in the first process, with the number of items of all processes and the first of them."""
    items = sorted(item for part in dist.all_gather_object(items) for item in part)
    if items:
        more = ', ...' if len(items) > LISTED else ''
        MMLogger.get_current_instance().warning(f'{len(items)} {what}: {", ".join(items[:LISTED])}{more}')
