"""Parts of a dataset that are absent: what needs them is left out and counted, or it is an error."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from peridot.catalog import MISSING
from peridot.errors import ConfigError, DataError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')


def check_missing(missing: str) -> None:
    """Raise a ConfigError for a value of `missing` other than 'skip' and 'error'."""
    if missing not in MISSING:
        raise ConfigError(f"missing={missing!r}, choose 'skip' (leave out and count) or 'error'")


def report(line: str, remedy: str, missing: str = 'skip') -> None:
    """Say in one line what is left out.

    Args:
        line: What is absent, with counts and names.
        remedy: The command or archive that brings it.
        missing: 'skip' logs a warning, 'error' raises.

    Raises:
        DataError: With `missing='error'`.
    """
    if missing == 'error':
        raise DataError(f'{line}: {remedy}')
    warn(f'{line}: left out; {remedy}')


def warn(line: str) -> None:
    """Log a warning."""
    print_log(line, 'current', logging.WARNING)


@dataclass
class Findings:
    """What turns up on the way through the files: an error at once, or one line at the end.

    Attributes:
        what: What was found, after its number.
        remedy: See `report`.
        missing: See `report`.
        counts: Number by the name of the file.
    """

    what: str
    remedy: str
    missing: str
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, count: int = 1) -> None:
        """Count what was found in a file; a DataError with `missing='error'`."""
        self.counts[name] = count
        if self.missing == 'error':
            self.report()

    def report(self) -> None:
        """Log the line if there is something."""
        if self.counts:
            report(f'{sum(self.counts.values())} {self.what} ({first(self.counts)})', self.remedy, self.missing)


def finite_rows(points: np.ndarray, path: Path, lost: Findings) -> np.ndarray:
    """Rows of a cloud (N, D) that are finite, Bool (N,); the others are counted.

    Raises:
        DataError: No row is, or `lost` is strict and one is not.
    """
    finite = np.isfinite(points).all(1)
    if not finite.any():
        raise DataError(f'{path} has no point whose values are finite: {lost.remedy}')
    if not finite.all():
        lost.add(str(path), int((~finite).sum()))
    return finite


def first(names: Collection[str], count: int = 3) -> str:
    """The first names, separated by commas."""
    return ', '.join([*list(names)[:count], *['...'] * (len(names) > count)])


def files_in(folder: Path, *suffixes: str) -> dict[str, str]:
    """Names of the files of a folder by their stems; of several with one stem that with the earliest suffix.

    Args:
        folder: It may be absent.
        *suffixes: In lower case, with the dot.
    """
    found: dict[str, str] = {}
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for suffix in reversed(suffixes):
        own = [name for name in names if name.lower().endswith(suffix) and not name.startswith('.')]
        found.update((name[: -len(suffix)], name) for name in own)
    return dict(sorted(found.items()))


def absent_files(paths: Iterable[str]) -> set[str]:
    """Those of the paths where no file is; each folder is listed once. Other places than folders are not looked at."""
    folders: dict[str, set[str]] = {}
    absent = set()
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in folders[folder] and '://' not in path:
            absent.add(path)
    return absent
