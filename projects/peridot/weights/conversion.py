"""What converters have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from peridot.checkpoints import state_of
from peridot.errors import CheckpointError

UNKNOWN_VOXELS = 'the file does not say which voxels it was trained with: set those of its program'


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


def network_of(state: Mapping[str, Tensor], stem: str) -> dict[str, Tensor]:
    """Tensors of the network with the tensor `stem`, without what precedes it: `model_points.`, `encoder.`, ...

    Raises:
        CheckpointError: No network has it.
    """
    prefixes = [name.removesuffix(stem) for name in state if f'.{name}'.endswith(f'.{stem}')]
    if not prefixes:
        raise CheckpointError(f'it lacks the stem of its network: it has no {stem}')
    # of two networks, one of which follows the other as its average, the trained one
    prefix = min(prefixes, key=lambda prefix: ('model_q' not in prefix, len(prefix)))
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def left_out(names: Iterable[str]) -> list[str]:
    """The note on tensors that are not converted, by the first part of their names; nothing if there are none."""
    parts = dict.fromkeys(name.split('.')[0] for name in names)
    return [f'left out: {", ".join(f"{part}.*" for part in parts)}'] if parts else []


def own_tensors(content: Mapping) -> dict[str, Tensor]:
    """Tensors of one of our files by the names of a segmentor: student and heads, whether exported or of a training."""
    state = {name.removeprefix('student.'): value for name, value in state_of(content).items()}
    return state | {f'heads.{name}': value for name, value in content.get('heads', {}).items()}
