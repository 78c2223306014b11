"""What a converter makes of a foreign file."""

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Conversion:
    """Weights of another program, for one of our networks.

    Attributes:
        state: Tensors under our names, sparse kernels as spconv 2 has them.
        network: Network of the same tensors, to compare them with.
        settings: Voxels and input columns that the file was trained with, as a student's `input_settings()`; None if
            unknown.
        features: What it read from each point, as `input_features`; None if unknown.
        notes: What the user should know, one line each.
    """

    state: dict[str, Tensor]
    network: nn.Module
    settings: dict | None = None
    features: dict | None = None
    notes: list[str] = field(default_factory=list)
