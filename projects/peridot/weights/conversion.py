"""What converters have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from peridot.checkpoints import state_of
from peridot.errors import CheckpointError

# parts of the names of a network that follows another one of the file as its average
AVERAGES = {'ema', 'model_k'}


@dataclass
class Conversion:
    """Weights of another program, for one of our networks.

    Attributes:
        state: Tensors under our names, sparse kernels as spconv 2 has them.
        network: Network of the same tensors, to compare them with.
        settings: Voxels and input columns that the file was trained with, as a student's `input_settings()`; None if
            unknown, empty for images.
        features: What it read from each point, as `input_features`; None if unknown.
        notes: What the user should know, one line each.
    """

    state: dict[str, Tensor]
    network: nn.Module
    settings: dict | None = None
    features: dict | None = None
    notes: list[str] = field(default_factory=list)


def network_of(state: Mapping[str, Tensor], stem: str) -> tuple[dict[str, Tensor], list[str]]:
    """The network with the tensor `stem`; of several the one that the others follow as its averages.

    Returns:
        Its tensors, without what precedes their names (`model_points.`, `encoder.`, ...), and the names of all others.

    Raises:
        CheckpointError: No network has it, or several that are no averages.
    """
    prefixes = [name.removesuffix(stem) for name in state if f'.{name}'.endswith(f'.{stem}')]
    if not prefixes:
        raise CheckpointError(f'it lacks the stem of its network: it has no {stem}')
    trained = [prefix for prefix in prefixes if AVERAGES.isdisjoint(prefix.split('.'))] or prefixes
    if len(trained) > 1:
        found = ', '.join(f'{prefix}{stem}' for prefix in trained)
        raise CheckpointError(f'it has several networks ({found}): save the tensors of one of them alone')
    prefix, averages = trained[0], tuple(other for other in prefixes if other not in trained)
    own = [name for name in state if name.startswith(prefix) and not name.startswith(averages)]
    return {name.removeprefix(prefix): state[name] for name in own}, [name for name in state if name not in own]


def feature_columns(channels: int) -> list[int]:
    """Columns of the points that a network with so many inputs reads: the intensity, or the first ones."""
    return [3] if channels == 1 else list(range(channels))


def nuscenes_intensity(normalization: str) -> dict:
    """`input_features` of a network that reads the intensity of nuScenes alone."""
    return dict(dataset='nuscenes', columns=['intensity'], intensity_range=[0, 255], normalization=normalization)


def left_out(names: Iterable[str]) -> list[str]:
    """The note on tensors that are not converted, by the first part of their names; nothing if there are none."""
    parts = dict.fromkeys(name.split('.')[0] for name in names)
    return [f'left out: {", ".join(f"{part}.*" for part in parts)}'] if parts else []


def own_tensors(content: Mapping) -> dict[str, Tensor]:
    """Tensors of one of our files by the names of a segmentor: student and heads, whether exported or of a training."""
    state = {name.removeprefix('student.'): value for name, value in state_of(content).items()}
    return state | {f'heads.{name}': value for name, value in content.get('heads', {}).items()}
