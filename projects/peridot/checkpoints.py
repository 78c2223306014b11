"""Reads checkpoint files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from peridot.errors import CheckpointError

# where programs keep the state dict: mmengine, OpenPCDet, ScaLR (distilled, older, segmenting), Segmenter, DINO
STATES = ('state_dict', 'model_state', 'model_point', 'model_points', 'net', 'model', 'teacher')


def read_checkpoint(path: str | Path, what: str = 'checkpoint', hint: str = 'check the path') -> dict:
    """Read a checkpoint, on the CPU; only tensors and plain values are unpickled.

    Args:
        path: File of torch, or `.safetensors`.
        what: Kind of the file, for errors.
        hint: What to do if it is absent, for the error.

    Raises:
        CheckpointError: The file is absent, damaged, holds other objects or no dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{what} {path} not found: {hint}')
    try:
        content = _read(path)
    except Exception as error:  # of torch, pickle, zip or safetensors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f'{what} {path} cannot be read, get the file again or save its state dict alone ({reason})'
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{what} {path} holds no state dict but a {type(content).__name__}: get the file again')
    return content


def state_of(content: Mapping) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the prefix of a data-parallel wrapper."""
    state = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)
    return {name.removeprefix('module.'): value for name, value in state.items() if isinstance(value, Tensor)}


def _read(path: Path) -> object:
    if path.suffix == '.safetensors':
        return load_file(path)
    # memory-mapped: tensors are read when they are used
    return torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
