"""Reads checkpoint files, whatever program wrote them and whatever their suffix."""

import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from threading import Lock

import torch
from packaging.version import Version
from safetensors.torch import load_file
from torch import Tensor

from peridot.errors import CheckpointError

# where programs keep the state dict: mmengine, OpenPCDet, ScaLR (distilled, older, segmenting), Segmenter, DINO
STATES = ('state_dict', 'model_state', 'model_point', 'model_points', 'net', 'model', 'teacher')
# parts of a tensor's name that come from wrappers: DataParallel and its relatives, torch.compile
WRAPPERS = ('module', '_orig_mod')
# what is read in place of classes that programs keep in a config beside the weights (BEVContrast): a dict and a path
# that does not touch the disk
STAND_INS = ((OrderedDict, 'easydict.EasyDict'), (PurePosixPath, 'pathlib.PosixPath'))
# what torch may unpickle is a setting of the process: while one thread reads, another must not take the names away
_READING = Lock()


def read_checkpoint(path: str | Path, what: str = 'checkpoint', hint: str = 'check the path') -> dict:
    """Read a checkpoint, on the CPU; only tensors, plain values and configs of `STAND_INS` are unpickled.

    Args:
        path: File of torch or safetensors; the content tells them apart, not the suffix.
        what: Kind of the file, for errors.
        hint: What to do if it is absent, for the error.

    Raises:
        CheckpointError: The file is absent, damaged, holds other objects or no dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{what} {path} not found: {hint}')
    try:
        with _READING, _stand_ins():
            content = _read(path)
        _drop_attributes(content)
    except UnpicklingError as error:
        raise CheckpointError(f'{what} {path} cannot be read, {_cure(path, str(error))}') from error
    except Exception as error:  # of torch, zip or safetensors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f'{what} {path} cannot be read, get the file again ({reason})') from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{what} {path} holds no state dict but a {type(content).__name__}: get the file again')
    return content


def is_safetensors(path: str | Path) -> bool:
    """Whether a file's first bytes are those of safetensors: the length of a header in JSON, and its brace."""
    with open(path, 'rb') as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], 'little')
    return start[8:] == b'{' and length <= Path(path).stat().st_size - 8


def state_of(content: Mapping, names: Iterable[str] = ()) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the parts that wrappers add (`module.`, `_orig_mod.`), at any depth.

    Args:
        content: What `read_checkpoint` returned.
        names: Those of the network that takes the tensors; it keeps the parts that belong to its own names.
    """
    state = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)
    state = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    new = unwrapped_names(state, names)
    return {new[name]: value for name, value in state.items()}


def meta_of(content: Mapping) -> Mapping:
    """What a checkpoint says about itself (`meta`); empty if it has none."""
    meta = content.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def unwrapped_names(found: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, str]:
    """New name of every name: the wanted one that differs from it by wrappers alone, or the one without wrappers.

    Args:
        found: Names of tensors or modules in a file.
        wanted: Those of a network.
    """
    wanted = set(wanted)
    known = {without_wrappers(name): name for name in wanted}
    new = {name: name if name in wanted else known.get(plain := without_wrappers(name), plain) for name in found}
    count = Counter(new.values())
    return {name: target if count[target] == 1 else name for name, target in new.items()}


def without_wrappers(name: str) -> str:
    """Name of a tensor or module without the parts that wrappers add."""
    return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def _read(path: Path) -> object:
    if is_safetensors(path):
        return load_file(path)
    if zipfile.is_zipfile(path) and path.suffix != '.safetensors':
        # memory-mapped: tensors are read when they are used
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    # opened here, because torch judges a path by its suffix
    with open(path, 'rb') as file:
        return torch.load(file, map_location='cpu', weights_only=True)


def _drop_attributes(value: object) -> None:
    """Remove attributes of dicts, at any depth: those of an EasyDict are its items, which may hide methods."""
    if isinstance(value, dict):
        attributes = getattr(value, '__dict__', {})
        # of state dicts: spconv's versions
        for name in attributes.keys() - {'_metadata'}:
            del attributes[name]
    if isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            _drop_attributes(item)


def _cure(path: Path, reason: str) -> str:
    """What to do about a file that torch does not unpickle."""
    if not _is_pickle(path):
        return 'get the file again (it is neither of torch nor of safetensors)'
    if any(name in reason for _, name in STAND_INS):
        return 'use torch 2.6 or newer (its config has a class that older versions refuse)'
    save = f"torch.save(torch.load('{path}', weights_only=False)['state_dict'], 'NEW.pth')"
    return (
        'it holds Python objects beside tensors: if you trust the file, save its tensors alone where the program that '
        f'wrote it is installed: python -c "import torch; {save}", with the key that holds them'
    )


def _stand_ins() -> AbstractContextManager:
    """Names of foreign classes that may stand in a pickle, each read as a harmless class of another name."""
    if Version(torch.__version__) < Version('2.6'):
        # older versions know no other names: they refuse such files
        return nullcontext()
    return torch.serialization.safe_globals(list(STAND_INS))


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as a zip archive of torch, or as a pickle."""
    with open(path, 'rb') as file:
        start = file.read(2)
    return start == b'PK' or (start[:1] == b'\x80' and start[1:] <= b'\x05')
