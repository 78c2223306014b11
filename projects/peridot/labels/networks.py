"""What generators share that run a network: optional packages, checkpoints, one network per process."""

import pickle
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from peridot.errors import CheckpointError
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob


class NetworkGenerator(LabelGenerator):
    """A generator that runs a network, on the GPU where there is one.

    On a GPU each process has one network and makes its maps itself (more GPUs: start it with torchrun); on the
    CPU the worker processes share the weights that were loaded before they started.
    """

    _loaded: Any = None

    def load(self) -> Any:
        """Load what `network` returns, from settings alone.

        Raises:
            CheckpointError: Weights are missing, damaged or of another network.
            ConfigError: A setting does not fit, or a package is missing.
        """
        raise NotImplementedError

    @property
    def network(self) -> Any:
        """What `load` returned, loaded once in a process."""
        if self._loaded is None:
            self._loaded = self.load()
        return self._loaded

    def open(self, job: MapJob) -> None:
        """Load the network before anything is written."""
        _ = self.network

    def workers(self, wanted: int) -> int:
        """One process for a GPU."""
        return 1 if torch.cuda.is_available() else wanted

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_loaded': None}


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def read_checkpoint(path: Path, what: str, origin: str = 'check the path') -> Mapping:
    """Content of a torch file, read without running code in it.

    Args:
        path: The file.
        what: What it is, for errors.
        origin: What to do when it is absent, for the error.

    Raises:
        CheckpointError: The file is absent, truncated, or holds other objects than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f'{what} {path} not found: {origin}')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f'{what} {path} cannot be read, get the file again ({reason})') from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{what} {path} holds no state dict but a {type(content).__name__}: get the file again')
    return content


def misfits(network: torch.nn.Module, state: Mapping) -> list[str]:
    """Names of tensors that only one of the two has, or that have different shapes, sorted."""
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    other = {name: getattr(tensor, 'shape', None) for name, tensor in state.items()}
    return sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))


def fingerprint(path: Path) -> str:
    """Name and CRC-32 of a file, for the manifest: the folder the file lies in may change, its content may not."""
    checksum = 0
    with path.open('rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return f'{path.name} crc32:{checksum:08x}'
