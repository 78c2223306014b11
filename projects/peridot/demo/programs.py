"""Programs of tools/ that begin without imports: forks of one process whose imports are done.

Importing mmdet3d takes 10 seconds, and a comparison runs many programs. Each is a process of its own all the same, with
its own registries, logs and random numbers.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path

from peridot.cli import run
from peridot.errors import PeridotError
from peridot.shipped import tool_file

# what the process of which forks are made imports
IMPORTS = ['peridot.demo.everything']
# multiprocessing asks for the exit status of all forks whenever it starts one
_STARTING = threading.Lock()


def can_fork() -> bool:
    """Whether programs may be forks: a fork of a process that has asked for CUDA cannot use it, and imports ask."""
    import torch  # takes a second, and --help comes before

    return not torch.cuda.is_available()


@cache
def server() -> ForkServerContext:
    """The process of which forks are made; the first call begins with its imports and does not wait for them.

    Forks compute on one thread, unless OMP_NUM_THREADS says something else.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(IMPORTS)
    before = os.environ.get('OMP_NUM_THREADS')
    os.environ['OMP_NUM_THREADS'] = before or '1'
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ['OMP_NUM_THREADS']
    return context


def run_forked(function: Callable, *arguments, prefix: str = '') -> int:
    """Call a function in a fork; returns its exit status.

    Args:
        function: Picklable, with its arguments.
        arguments: Its arguments.
        prefix: What the lines begin with that it writes, where several write at once.

    Raises:
        PeridotError: The imports failed, whose error is written above.
    """
    reader, writer = multiprocessing.Pipe(duplex=False) if prefix else (None, None)
    process = server().Process(target=_in_fork, args=(function, arguments, writer))
    try:
        with _STARTING:
            process.start()
    except (EOFError, ConnectionError):
        raise PeridotError(f'{", ".join(IMPORTS)} cannot be imported: fix what the error above names') from None
    if prefix:
        writer.close()
        with open(reader.fileno(), errors='replace', closefd=False) as lines:
            for line in lines:
                print(f'{prefix}{line}', end='', flush=True)
        reader.close()
    wait([process.sentinel])
    with _STARTING:
        process.join()
    return process.exitcode


def _in_fork(function: Callable, arguments: tuple, writer: Connection | None) -> None:
    # as in a program of its own: the workers of data loaders are forks
    multiprocessing.set_start_method('fork', force=True)
    if writer is not None:
        for stream in (1, 2):
            os.dup2(writer.fileno(), stream)
        writer.close()
    sys.stdout.reconfigure(line_buffering=True)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    try:
        function(*arguments)
    finally:
        # what a program of its own does at its end, and a fork does not: trainings end their loaders' workers so
        atexit._run_exitfuncs()


def _end_with(parent: int) -> None:
    """Ask this process to end when its parent does, whose next run may write to the same folders."""
    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def run_program(name: str, arguments: tuple[str, ...]) -> None:
    """Do in this process what `python tools/NAME.py ARGUMENTS` does."""
    path = str(tool_file(name))
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name='__main__')


def make_report(work_dir: Path, results: dict) -> None:
    """`write_report`, which imports mmdet3d, as a program: an error that the user can fix is one line."""
    from peridot.demo.report import write_report

    run(partial(write_report, work_dir, results))
