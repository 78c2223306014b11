"""Base of generators that run a network: one network per process, its device, a checksum of its file."""

import zlib
from pathlib import Path
from typing import Any

import torch

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
        """What `load` returned; it is loaded once per process."""
        if self._loaded is None:
            self._loaded = self.load()
        return self._loaded

    def open(self, job: MapJob) -> None:
        """Load the network before anything is written."""
        _ = self.network

    def workers(self, wanted: int) -> int:
        """One process per GPU."""
        return 1 if torch.cuda.is_available() else wanted

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_loaded': None}


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def fingerprint(path: Path) -> str:
    """Name and CRC-32 of a file, for the manifest: its folder may change, its content may not."""
    checksum = 0
    with path.open('rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return f'{path.name} crc32:{checksum:08x}'
