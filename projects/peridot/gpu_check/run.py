"""All parts, each in a process of its own: one that crashes or hangs takes nothing else with it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from peridot.errors import ConfigError
from peridot.files import write_bytes
from peridot.gpu_check import PARTS
from peridot.gpu_check.checks import Checks, Row, Setup, run_part
from peridot.gpu_check.table import print_row, print_summary

# beyond its budget a part may import packages and end the check that it has begun
GRACE = 60


def check_gpu(parts: Sequence[str], setup: Setup, seconds: float | None, out: Path) -> int:
    """Run parts, print a table and write the report.

    Args:
        parts: Names of `PARTS`.
        setup: For the checks; its budget is replaced.
        seconds: Budget of each part; by default that of `PARTS`.
        out: JSON file.

    Returns:
        Number of failed checks.

    Raises:
        ConfigError: The device or the folder of configs does not exist.
    """
    check_setup(setup)
    report = dict(machine=machine(setup.device), device=setup.device, small=setup.small, parts={})
    print('  '.join(f'{name} {value}' for name, value in report['machine'].items()), flush=True)
    rows = []
    for part in parts:
        module, budget = PARTS[part]
        begin = time.perf_counter()
        found = isolated(part, module, replace(setup, seconds=budget if seconds is None else seconds))
        took = time.perf_counter() - begin
        rows += found
        report['parts'][part] = dict(seconds=took, checks=[asdict(row) for row in found])
        # after every part, so that an interrupted run leaves what it has found
        write_bytes(out, json.dumps(report, indent=1).encode())
    print_summary(rows, {part: entry['seconds'] for part, entry in report['parts'].items()}, out)
    return sum(row.status == 'failed' for row in rows)


def check_setup(setup: Setup) -> None:
    """Refuse what no part can work with.

    Raises:
        ConfigError: The device or the folder of configs does not exist.
    """
    if setup.on_gpu and not torch.cuda.is_available():
        raise ConfigError(
            f'--device {setup.device}: torch {torch.__version__} sees no GPU: install a build of torch for CUDA, or '
            'make a dry run with --device cpu --small'
        )
    if not (setup.configs / 'pretrain').is_dir():
        raise ConfigError(f'{setup.configs}/pretrain does not exist: run this from the folder of the repository')


def machine(device: str) -> dict:
    """What the numbers depend on: packages, GPU, cores."""
    import mmcv
    import mmdet3d

    found = dict(torch=torch.__version__, mmcv=mmcv.__version__, mmdet3d=mmdet3d.__version__)
    if device.startswith('cuda'):
        from mmcv.ops import get_compiling_cuda_version

        properties = torch.cuda.get_device_properties(device)
        found |= dict(
            cuda=torch.version.cuda,
            mmcv_compiled_for=get_compiling_cuda_version(),
            gpu=properties.name,
            capability=f'{properties.major}.{properties.minor}',
            gib=round(properties.total_memory / 2**30, 1),
            gpus=torch.cuda.device_count(),
        )
    return found | dict(cores=len(os.sched_getaffinity(0)))


def isolated(part: str, module: str, setup: Setup) -> list[Row]:
    """Rows of a part that runs in a process of its own; the last one says so if that crashed or hung.

    Args:
        part: Its name.
        module: Dotted name of the module with its `checks`.
        setup: For the checks.
    """
    # a fork would inherit a CUDA that it cannot use
    context = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory(dir=setup.folder) as folder:
        lines = Path(folder, 'rows.jsonl')
        process = context.Process(target=_work, args=(part, module, replace(setup, folder=Path(folder)), lines))
        process.start()
        try:
            process.join(setup.seconds + GRACE)
            hung = process.is_alive()
        finally:
            _end(process)
        rows = [Row(**json.loads(line)) for line in lines.read_text().splitlines()] if lines.is_file() else []
    if hung or process.exitcode:
        why = f'did not end within {setup.seconds + GRACE:g} s' if hung else _death(process.exitcode)
        last = f', after {rows[-1].check!r}' if rows else ''
        rows.append(Row(part, 'process', 'failed', error=f'the process of this part {why}{last}'))
        print_row(rows[-1])
    return rows


def _work(part: str, module: str, setup: Setup, lines: Path) -> None:
    """Run a part; every row is printed and written as soon as it is known."""
    # a group of its own, which ends together with the processes that the part starts
    os.setsid()
    MMLogger.get_instance('check_gpu', log_level='WARNING')
    checks: Callable[[Setup], Checks] = _checks_of(module)
    with lines.open('a') as file:
        for row in run_part(part, checks, setup):
            file.write(json.dumps(asdict(row)) + '\n')
            file.flush()
            print_row(row)


def _checks_of(module: str) -> Callable[[Setup], Checks]:
    """The checks of a module, which is imported when they are asked for: an error of the import is the part's."""

    def checks(setup: Setup) -> Checks:
        return import_module(module).checks(setup)

    return checks


def _end(process: BaseProcess) -> None:
    """End a process and those that it started, if it still runs."""
    if process.is_alive():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _death(code: int) -> str:
    return f'died of {signal.Signals(-code).name}' if code < 0 else f'ended with status {code}'
