"""Reading files with errors that name them, from disks and object stores; writing them atomically."""

import errno
import fnmatch
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine import fileio

from peridot.errors import ConfigError, DataError


def is_remote(path: str | os.PathLike, backend_args: Mapping | None = None) -> bool:
    """Whether a path is read through one of mmengine's file back ends.

    Args:
        path: A path, or a URI such as `s3://bucket/file`.
        backend_args: Arguments of a file back end, which may map paths that look local to others.
    """
    return bool(backend_args) or '://' in os.fspath(path)


def normalized(root: str) -> str:
    """A root without needless parts, so that equal ones are the same; URIs stay as they are."""
    return root if is_remote(root) else os.path.normpath(root)


def join(root: str | os.PathLike, path: str | os.PathLike) -> str:
    """A path below a root; absolute ones and URIs stay as they are."""
    return os.fspath(path) if '://' in os.fspath(path) else os.path.join(root, path)


def disk_folder(root: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """A folder below a root that files are written to.

    Raises:
        ConfigError: It lies in a store.
    """
    path = join(root, folder)
    if is_remote(path):
        raise ConfigError(f'{path} cannot be written: give a folder on a disk with --out DIR')
    return Path(path)


def read_bytes(path: str | os.PathLike, backend_args: Mapping | None = None) -> bytes:
    """Content of a file.

    Args:
        path: The file.
        backend_args: See `is_remote`.

    Raises:
        OSError: It cannot be read.
        ConfigError: No file back end fits the path.
    """
    if not is_remote(path, backend_args):
        return Path(path).read_bytes()
    backend = _backend(path, backend_args)
    try:
        data = backend.get(os.fspath(path))
        if data is None:  # as Petrel's client says that there is none
            raise FileNotFoundError('no such object')
        return bytes(data)
    except Exception as error:  # each store has errors of its own
        raise _store_error(path, error) from None


def read_file(path: str | os.PathLike, what: str, backend_args: Mapping | None = None) -> bytes:
    """Like `read_bytes`, for a file of a dataset.

    Args:
        path: The file.
        what: Kind of the file, for the error.
        backend_args: See `is_remote`.

    Raises:
        DataError: It cannot be read.
        ConfigError: No file back end fits the path.
    """
    try:
        return read_bytes(path, backend_args)
    except OSError as error:
        raise DataError(
            f'{what} {path} cannot be read ({error.strerror or os.strerror(error.errno)}): restore it, or check '
            '`data_prefix` and --data-root'
        ) from None


def exists(path: str | os.PathLike, backend_args: Mapping | None = None, folder: bool = False) -> bool:
    """Whether a file, or a folder, exists; True where a store cannot tell (HTTP).

    Args:
        path: The file or folder.
        backend_args: See `is_remote`.
        folder: Ask for a folder.
    """
    if not is_remote(path, backend_args):
        return os.path.isdir(path) if folder else os.path.isfile(path)
    backend = _backend(path, backend_args)
    ask = getattr(backend, 'isdir' if folder else 'isfile', None)
    try:
        return ask is None or ask(os.fspath(path))
    except Exception as error:  # each store has errors of its own
        raise _unclear(path, error) from None


def names_in(directory: str | os.PathLike, backend_args: Mapping | None = None) -> set[str] | None:
    """Names of the entries of a directory, none if it does not exist; None where a store cannot list them (HTTP)."""
    if not is_remote(directory, backend_args):
        try:
            with os.scandir(directory) as entries:
                return {entry.name for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return set()
    backend = _backend(directory, backend_args)
    if not hasattr(backend, 'list_dir_or_file'):
        return None
    try:
        return set(backend.list_dir_or_file(os.fspath(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except Exception as error:  # each store has errors of its own
        raise _unclear(directory, error) from None


def find(root: str | os.PathLike, pattern: str, backend_args: Mapping | None = None) -> list[str]:
    """Paths of files below a root that match a pattern, relative to it and sorted; none that are hidden.

    Args:
        root: A folder.
        pattern: As for `pathlib.Path.glob`, without `**`.
        backend_args: See `is_remote`.

    Raises:
        ConfigError: The root lies in a store that cannot list folders (HTTP).
    """
    if not is_remote(root, backend_args):
        found = (path for path in Path(root).glob(pattern) if not path.name.startswith('.'))
        return sorted(path.relative_to(root).as_posix() for path in found)
    found = ['']
    for part in pattern.split('/'):
        found = [join(above, name) for above in found for name in _matching(join(root, above), part, backend_args)]
    return sorted(found)


def _matching(directory: str, pattern: str, backend_args: Mapping | None) -> list[str]:
    """Names of the entries of a store's directory that match a pattern."""
    names = names_in(directory, backend_args)
    if names is None:
        raise ConfigError(f'{directory} cannot be listed over HTTP: use another back end, or copy it to a disk')
    return [name for name in fnmatch.filter(names, pattern) if not name.startswith('.')]


def _backend(path: str | os.PathLike, backend_args: Mapping | None) -> fileio.BaseStorageBackend:
    try:
        return fileio.get_file_backend(os.fspath(path), backend_args=dict(backend_args or {}), enable_singleton=True)
    except (ImportError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f'{path}: no file back end of mmengine reads it with backend_args={backend_args} ({reason}): set '
            '`backend_args` of the dataset, or register one (mmengine.fileio.register_backend)'
        ) from None


def _unclear(path: str | os.PathLike, error: Exception) -> DataError:
    """Error where a store does not say whether something exists."""
    return DataError(f'{path}: {_store_error(path, error).strerror}: check `backend_args` and the store')


def _store_error(path: str | os.PathLike, error: Exception) -> OSError:
    """A store's error as one of the system, with its own words."""
    absent = isinstance(error, (FileNotFoundError, KeyError)) or getattr(error, 'code', None) == 404
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return OSError(errno.ENOENT if absent else errno.EIO, reason, os.fspath(path))


def read_lines(path: str | os.PathLike, backend_args: Mapping | None = None) -> list[str]:
    """Lines of a text file, without empty ones, blanks around them and the mark with which Windows begins a file.

    Args:
        path: The file, in UTF-8.
        backend_args: See `is_remote`.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is no text.
    """
    lines = read_bytes(path, backend_args).decode('utf-8-sig').splitlines()
    return [line.strip() for line in lines if line.strip()]


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Temporary path in the same folder that replaces `path` if the block ends without error.

    Missing folders are created. Temporary names start with a dot and end in `.part`: an interrupted run leaves no
    file that could be taken for a finished one. Each process and thread has a name of its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'.{path.name}.{os.getpid()}.{threading.get_ident()}.part'
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike, data: bytes, changed: int | None = None) -> None:
    """Write a file atomically, see `atomic_path`.

    Args:
        path: The file.
        data: Its content.
        changed: Time of its last change, nanoseconds since 1970; None for now.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
        if changed is not None:
            os.utime(temporary, ns=(changed, changed))


def usable_cores() -> int:
    """Number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
