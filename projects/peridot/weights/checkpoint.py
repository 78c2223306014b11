"""Reads checkpoint files."""

import ast
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from peridot.errors import CheckpointError

# where programs keep the state dict: mmengine, OpenPCDet, ScaLR (distilled, older, segmenting), Segmenter
STATES = ('state_dict', 'model_state', 'model_point', 'model_points', 'net', 'model')


def read_checkpoint(path: str | Path, what: str = 'checkpoint', hint: str = 'check the path') -> dict:
    """Read a checkpoint, on the CPU; only tensors and plain values are unpickled.

    Args:
        path: The file.
        what: Name of the kind of file, for errors.
        hint: What to do if it is absent, for the error.

    Raises:
        CheckpointError: The file is absent, damaged, holds other objects or no dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{what} {path} not found: {hint}')
    try:
        # memory-mapped: tensors are read when they are used
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
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


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside wrappers for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def literal_config(text: str) -> ConfigDict:
    """Config as mmengine prints it (`Config.pretty_text`), read without running it.

    Raises:
        ValueError: The text is more than assignments of literals and `dict(...)`.
    """
    try:
        lines = ast.parse(text).body
        return ConfigDict({line.targets[0].id: _literal(line.value) for line in lines})
    except (AttributeError, SyntaxError) as error:
        raise ValueError(f'not a printed config: {error}') from error


def _literal(node: ast.expr):
    if isinstance(node, ast.Call):
        if getattr(node.func, 'id', None) == 'dict':
            return dict(*map(_literal, node.args), **{word.arg: _literal(word.value) for word in node.keywords})
        raise ValueError(f'line {node.lineno} calls a function')
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)
