"""A number of steps that is known on the host."""

import torch
from torch import nn


class Counter(nn.Module):
    """Counts training steps: in a buffer, which checkpoints and other processes get, and on the host.

    Reading a buffer would make every step wait for the GPU.

    Attributes:
        count: Int64 (), the buffer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('count', torch.zeros((), dtype=torch.int64))
        self.read()

    def __int__(self) -> int:
        """The number."""
        return self._number

    def advance(self) -> None:
        """Count a step."""
        self._number += 1
        self.count += 1

    def set(self, number: int) -> None:
        """Go on from a number."""
        self._number = number
        self.count.fill_(number)

    def read(self) -> None:
        """Take over the buffer's number, after it was changed from outside."""
        self._number = 0 if self.count.is_meta else int(self.count)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.read()
