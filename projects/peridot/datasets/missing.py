"""Parts of a dataset that are absent: what needs them is left out and counted, or it is an error."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from mmengine.logging import print_log

from peridot.errors import ConfigError, DataError

# values of `missing` in datasets and of --missing
MISSING = ('skip', 'error')
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
    print_log(f'{line}: left out; {remedy}', 'current', logging.WARNING)


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
