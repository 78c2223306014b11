"""mmengine reads weights by their suffix and by the exact names of tensors.

Broken: `load_from`, `init_cfg` and `--resume` hand local files to `torch.load`: safetensors end in an UnpicklingError
("unsupported pickle protocol"), or are read as a bare dict that hooks do not expect. Names that torch.compile
(`_orig_mod.`) or a data-parallel wrapper inside the model (`module.`) changed match nothing, which is one line in the
log; with a prefix, as in `init_cfg`, they end in a bare AssertionError.
Versions: mmengine up to 0.10.7.
Detected: always.
Repair: safetensors are recognized by their content. Names are compared without the parts that wrappers add, in the file
as well as in the model; names that fit as they are stay.
Delete when: mmengine reads safetensors and ignores wrappers.
"""

import functools
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch

from peridot.checkpoints import is_safetensors, read_checkpoint, state_of, unwrapped_names, without_wrappers
from peridot.errors import CheckpointError

from .records import note


def renamed(state: Mapping, names: list[str]) -> Mapping:
    """A state dict under the names of a network, see `unwrapped_names`; spconv's versions in its metadata, too.

    Args:
        state: Tensors by name, perhaps with `_metadata`.
        names: Those of the network.
    """
    new = unwrapped_names(state, names)
    result = OrderedDict((new[name], value) for name, value in state.items())
    # of a wrapper and what it wraps, the latter comes later and counts
    versions = {without_wrappers(module): version for module, version in getattr(state, '_metadata', {}).items()}
    modules = {'', *(name[:end] for name in names for end, letter in enumerate(name) if letter == '.')}
    known = {module: without_wrappers(module) for module in modules}
    result._metadata = OrderedDict((module, versions[name]) for module, name in known.items() if name in versions)
    return result


def repair(module: ModuleType) -> None:
    """Repair the loading of mmengine.runner.checkpoint."""
    if hasattr(module.load_state_dict, '__wrapped__'):
        return
    original, load, with_prefix = module.load_from_local, module.load_state_dict, module._load_checkpoint_with_prefix

    @functools.wraps(original)
    def load_from_local(filename: str, map_location=None) -> dict:
        """Like mmengine's, for safetensors too; a CheckpointError names a file that cannot be read."""
        path = Path(filename).expanduser()
        if path.is_file() and path.suffix == '.safetensors' and not is_safetensors(path):
            return read_checkpoint(path)
        if not (path.is_file() and is_safetensors(path)):
            try:
                return original(filename, map_location)
            except Exception:
                # ends in one line if the file is the cause
                read_checkpoint(path)
                raise
        state = read_checkpoint(path)
        if isinstance(map_location, str | torch.device):
            state = {name: value.to(map_location) for name, value in state.items()}
        return dict(state_dict=OrderedDict(state))

    @functools.wraps(load)
    def load_state_dict(network, state_dict, *args, **kwargs) -> None:
        load(network, renamed(state_dict, list(module.get_state_dict(network))), *args, **kwargs)

    @functools.wraps(with_prefix)
    def _load_checkpoint_with_prefix(prefix: str, filename: str, map_location=None) -> dict:
        try:
            return with_prefix(prefix, filename, map_location)
        except AssertionError:
            prefix = prefix.rstrip('.') + '.'
            state = state_of(module._load_checkpoint(filename, map_location))
            found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            if not found:
                raise CheckpointError(
                    f'{filename} has no tensor whose name begins with {prefix} (it has {next(iter(state), "none")}): '
                    'correct prefix or checkpoint of init_cfg'
                ) from None
            return found

    module.load_state_dict = load_state_dict
    module._load_checkpoint_with_prefix = _load_checkpoint_with_prefix
    module.CheckpointLoader.register_scheme('', load_from_local, force=True)
    note('weight_files', 'mmengine reads safetensors, and names that wrappers changed')
