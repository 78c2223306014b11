"""Reading files with errors that name them, writing them atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peridot.errors import DataError


def read_file(path: str | os.PathLike, what: str) -> bytes:
    """Content of a file of a dataset.

    Args:
        path: The file.
        what: Kind of the file, for the error.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f'{what} {path} cannot be read ({os.strerror(error.errno)}): restore it, or check '
            '`data_prefix` and --data-root'
        ) from None


def read_lines(path: str | os.PathLike) -> list[str]:
    """Lines of a text file, without empty ones, blanks around them and the mark with which Windows begins a file.

    Args:
        path: The file, in UTF-8.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is no text.
    """
    lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    return [line.strip() for line in lines if line.strip()]


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Temporary path in the same folder that replaces `path` if the block ends without error.

    Missing folders are created. Temporary names start with a dot and end in `.part`: an interrupted run leaves no
    file that could be taken for a finished one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'.{path.name}.{os.getpid()}.part'
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def usable_cores() -> int:
    """Number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
