"""Processes that make maps together start, fail and warn as one."""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from mmengine import dist
from mmengine.logging import MMLogger

from peridot.errors import DataError, PeridotError
from peridot.gpus import check_own_gpu

T = TypeVar('T')

# number of maps that a warning names
LISTED = 10
# longest time that processes wait for each other: one may have hours of work left, or work for all of them, when the
# others are done; one that has ended is noticed at once by its connections
WAIT = timedelta(days=1)
LOCK = '.lock'
# the processes that torchrun started, with that wait; None for this one alone
_processes: torch.distributed.ProcessGroup | None = None


def start_distributed() -> None:
    """Join the other processes if torchrun started this one.

    Raises:
        ConfigError: There are more processes on this machine than GPUs.
        DataError: One of them did not start.
    """
    global _processes
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and not dist.is_distributed():
        check_own_gpu('pytorch')
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
        with _others_needed():
            # only small python objects are exchanged; all processes start within gloo's own 30 minutes
            torch.distributed.init_process_group('gloo')
            _processes = torch.distributed.new_group(timeout=WAIT, backend='gloo')


def in_first_process(action: Callable[[], T]) -> T:
    """Result of `action`, which runs in the first process while the others wait; its error is raised in all of them."""
    outcome = [None, None]
    if dist.is_main_process():
        try:
            outcome[0] = action()
        except PeridotError as error:
            outcome[1] = error
    with _others_needed():
        dist.broadcast_object_list(outcome, group=_processes)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def gather(value: T) -> list[T]:
    """The value of each process, in their order."""
    with _others_needed():
        return dist.all_gather_object(value, _processes)


def raise_together(failures: list[str], total: int, unit: str = 'images', product: str = 'maps') -> None:
    """Raise one error in all processes if any of them had failures.

    Args:
        failures: One line for each.
        total: Number of things that were worked on, in all processes.
        unit: What they are.
        product: What is made of them.
    """
    failures = [failure for part in gather(failures) for failure in part]
    if failures:
        more = f' (and {len(failures) - 1} more of {total} {unit})' if len(failures) > 1 else ''
        raise DataError(f'{failures[0]}{more}; the other {product} are done, the same command makes the rest')


def warn_together(items: list[str], what: str) -> None:
    """Log one warning, in the first process, with the number of items of all processes and the first of them."""
    items = sorted(item for part in gather(items) for item in part)
    if items:
        more = ', ...' if len(items) > LISTED else ''
        MMLogger.get_current_instance().warning(f'{len(items)} {what}: {", ".join(items[:LISTED])}{more}')


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other runs, on this machine and on those that share the disk, from a folder while this one works on it.

    Args:
        folder: Folder of the maps, which may be absent; meanwhile it has a file `.lock`.

    Raises:
        DataError: Another run works on it; in all processes.
    """
    with ExitStack() as held:
        in_first_process(partial(_lock, folder, held))
        yield


def _lock(folder: Path, held: ExitStack) -> None:
    """Lock a folder until `held` is closed."""
    path = folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    file = held.enter_context(open(path, 'w'))  # noqa: SIM115
    try:
        # a lock of POSIX: network file systems know it, forked workers do not inherit it, and that of a killed process
        # is gone
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a run that has just ended removes the file that was opened here
        is_ours = path.exists() and os.path.samefile(path, file.fileno())
    except OSError as error:
        is_ours = error.errno not in (errno.EACCES, errno.EAGAIN)
        if is_ours:
            MMLogger.get_current_instance().warning(
                f'{folder} cannot be locked ({error.strerror}): do not start a second run before this one has ended'
            )
    if not is_ours:
        raise DataError(
            f'{folder} is being made by another run: wait for its end; machines that share a folder divide the work '
            'if torchrun starts them together, see docs/label_maps.md'
        )
    held.callback(path.unlink, missing_ok=True)


@contextmanager
def _others_needed() -> Iterator[None]:
    """Let a process whose peers are gone end with one line.

    Raises:
        DataError: A process cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo begins with a place in its source code, and ends with advice for its developers
        reason = re.sub(r'^\[\S+\] ', '', str(error)).splitlines()[0].partition('. ')[0]
        raise DataError(
            f'another process of this run has ended or cannot be reached ({reason}): see its own message; all finished '
            'maps are kept, the same command makes the rest'
        ) from None
