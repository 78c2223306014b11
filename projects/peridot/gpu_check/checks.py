"""Checks of a part: each is run on its own, timed, and ends as a row, whatever becomes of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.registry import init_default_scope

from peridot.cli import last_line
from peridot.errors import PeridotError


@dataclass(frozen=True)
class Setup:
    """What the parts are told.

    Attributes:
        device: 'cuda', 'cuda:1', ... or 'cpu'.
        small: Tiny networks and samples, for a dry run on a CPU.
        configs: The folder `configs` of the repository.
        folder: For files that are needed for a while.
        seconds: Budget of a part; checks that begin later are left out.
    """

    device: str
    small: bool
    configs: Path
    folder: Path
    seconds: float = float('inf')

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith('cuda')


# a check gives numbers for the report, or raises
Check = Callable[[], dict]
Checks = Iterator[tuple[str, Check]]


@dataclass
class Row:
    """Outcome of a check.

    Attributes:
        part: Name of the part.
        check: Name of the check.
        status: 'ok', 'failed' or 'left out'.
        seconds: Wall time.
        values: Numbers of the report, of failed checks too where there are some.
        error: One line; None if all is well.
        traceback: Of a failed check.
    """

    part: str
    check: str
    status: str
    seconds: float = 0.0
    values: dict = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None


class LeftOut(Exception):
    """A check that cannot be made here; the message says why."""


class Differs(PeridotError):
    """Numbers that are not what they should be.

    Args:
        message: One line.
        values: All numbers of the check.
    """

    def __init__(self, message: str, values: dict) -> None:
        super().__init__(message)
        self.values = values


def run_part(part: str, checks: Callable[[Setup], Checks], setup: Setup) -> Iterator[Row]:
    """Run the checks of a part one after another; a failed one does not stop the next.

    Args:
        part: Name of the part.
        checks: Gives its checks; one that is raised here, between them, ends the part.
        setup: For the checks.
    """
    begin = time.perf_counter()
    init_default_scope('mmdet3d')
    for name, check in _guarded(checks, setup):
        if time.perf_counter() - begin > setup.seconds:
            yield Row(part, name, 'left out', error=f'the {setup.seconds:g} s of this part were over (--seconds)')
        else:
            yield run_check(part, name, check)


def run_check(part: str, name: str, check: Check) -> Row:
    """Run one check; every error becomes a row."""
    begin = time.perf_counter()
    row = Row(part, name, 'ok')
    try:
        row.values = check()
    except LeftOut as reason:
        row.status, row.error = 'left out', str(reason)
    except Exception as error:  # whatever goes wrong is what the report is about
        row.status, row.error = 'failed', one_line(error)
        row.values, row.traceback = getattr(error, 'values', {}), traceback.format_exc()
    row.seconds = time.perf_counter() - begin
    return row


def one_line(error: BaseException) -> str:
    """Kind and message of an error."""
    line = ' '.join(last_line(error).split())
    return line if isinstance(error, PeridotError) else f'{type(error).__name__}: {line}'


def _guarded(checks: Callable[[Setup], Checks], setup: Setup) -> Checks:
    """The checks; if listing them fails, the error is the last one."""
    try:
        yield from checks(setup)
    except Exception as error:
        yield 'preparation', _failing(error)


def _failing(error: Exception) -> Check:
    def check() -> dict:
        raise error

    return check
