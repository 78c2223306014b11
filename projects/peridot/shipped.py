"""Configs and programs that come with the package, wherever it is installed."""

import functools
import os
import re
import shlex
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

SCOPE = 'peridot'
# OpenMMLab's place for them; in a clone of the repository it holds links
_FOLDER = Path(__file__).resolve().parent / '.mim'
# paths in messages, as in a clone; some messages speak of mmdet3d's tools
_NAMED = re.compile(r"(?<![\w/.])(?<!'s )(?:tools|configs)(?:/[\w+.-]*[\w+])+")


def tool_file(name: str) -> Path:
    """File of a program of `tools/`."""
    return (_FOLDER / 'tools' / f'{name}.py').resolve()


def config_file(name: str) -> str:
    """File of a config as a command line names it: `peridot::pretrain/olivine_nus.py`, or any other path."""
    scope, colons, path = name.partition('::')
    return str((_FOLDER / 'configs' / path).resolve()) if colons and scope == SCOPE else name


def with_paths(text: str) -> str:
    """A text whose `tools/...` and `configs/...` can be used from the current folder: in a clone they stay as they are.

    Args:
        text: A message for the user.
    """

    def found(match: re.Match) -> str:
        path = _FOLDER / match[0]
        return match[0] if os.path.exists(match[0]) or not path.exists() else shlex.quote(str(path.resolve()))

    return _NAMED.sub(found, text)


def register_scope() -> None:
    """Let `_base_` of configs and `Config.fromfile` name `peridot::pretrain/olivine_nus.py` (idempotent)."""
    # mmengine also looks for a module of this name, which an editable installation has, too
    MODULE2PACKAGE[SCOPE] = SCOPE
    Config._get_cfg_path = staticmethod(_base_file)
    Config.fromfile = staticmethod(_read)


_upstream_base_file = Config._get_cfg_path
_upstream_read = Config.fromfile


def _base_file(name: str, heir: str) -> tuple[str, str | None]:
    """File and scope of a base, which mmengine asks for.

    mmengine builds what it inherits from a package in the package's scope. Configs of this package say themselves what
    is built where: their `type='X'` is mmdet3d's or mmsegmentation's.
    """
    path, scope = _upstream_base_file(name, heir)
    return path, None if scope == SCOPE else scope


@functools.wraps(_upstream_read)
def _read(filename: str | os.PathLike, *arguments, **options) -> Config:
    return _upstream_read(config_file(os.fspath(filename)), *arguments, **options)
