"""A folder of links to a dataset that cannot be written to, for the files that are made of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from peridot.errors import DataError


def link_dataset(root: str | os.PathLike, out: str | os.PathLike, parts: Sequence[Path]) -> Path:
    """Make a folder that stands for a dataset: its parts are links, what is made of it becomes files.

    Configs read it as they would the dataset (`--data-root`). Links that exist are kept, those that lead nowhere are
    made again.

    Args:
        root: Folder of the dataset.
        out: Folder for the links.
        parts: The dataset's own files and folders below its folder.

    Returns:
        `out`.

    Raises:
        DataError: `out` is a file, or something of another dataset lies there.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    if root == out:
        return out
    if out.exists() and not out.is_dir():
        raise DataError(f'{out} is no folder: give another one with --out')
    for path in parts:
        link = out / path.relative_to(root)
        if link.is_symlink() and not link.exists():
            # the dataset has moved
            link.unlink()
        if os.path.lexists(link) and link.resolve() != path.resolve():
            raise DataError(f'{link} is there and no link to {path}: give another folder with --out')
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return out
