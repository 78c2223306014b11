"""WaffleIron's weights under the names and in the shapes of its released code, and under ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint
from peridot.errors import CheckpointError
from peridot.files import atomic_path
from peridot.models.backbones import WaffleIron
from peridot.weights.conversion import Conversion, own_tensors

# keys of the weights in ScaLR's files: distilled networks, and networks that segment
DISTILLED, SEGMENTING = ('model_point', 'model_points'), 'net'
# pattern of our name and the released name, the first match counts; a head is a linear layer, two of them (ScaLR+'s
# distillation), or batch normalization and a linear layer (ScaLR's segmentation)
NAMES = (
    (r'^backbone\.embed\.', 'embed.'),
    (r'^backbone\.(spatial_mix|channel_mix)\.', r'waffleiron.\1.'),
    (r'^heads\.distill\.student\.(\d\.)?', r'classif.\1'),
)
SEGMENTATION_HEADS = {
    False: ((r'^decode_head\.conv_seg\.', 'classif.'),),
    True: ((r'^decode_head\.norm\.', 'classif.0.'), (r'^decode_head\.conv_seg\.', 'classif.1.')),
}
# released layers are convolutions of size 1 over (scans, channels, tokens), or (scans, channels, tokens, neighbors)
CONVOLUTIONS = {
    r'^embed\.conv2\.\d\.weight$': 2,
    r'^embed\.(conv1|final)\.weight$|\.mlp\.\d\.weight$|^classif\.(\d\.)?weight$': 1,
}


def released_kind(state: Mapping[str, Tensor], content: Mapping) -> str:
    """'scalr' for a network that was distilled, 'waffleiron' for one that segments."""
    distilled = any(key in content for key in DISTILLED)
    segments = 'classif.0.running_mean' in state or ('classif.weight' in state and not distilled)
    return 'waffleiron' if segments else 'scalr'


def scalr(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """A network of ScaLR (linear head) or ScaLR+ (hidden layer, GELU) and its distillation head.

    Raises:
        CheckpointError: It is not a WaffleIron, or it segments.
    """
    found, network = _trunk(state)
    if 'classif.0.running_mean' in state:
        raise CheckpointError('its head segments: take the kind waffleiron')
    layers = [name.removesuffix('.weight') for name in state if re.match(r'classif\..*weight$', name)]
    linear = [nn.Linear(*state[f'{layer}.weight'].shape[1::-1], device='meta') for layer in layers]
    if linear:
        student = linear[0] if len(linear) == 1 else nn.Sequential(linear[0], nn.ReLU(), *linear[1:])
        network.heads = nn.ModuleDict(dict(distill=nn.ModuleDict(dict(student=student))))
    for name, value in state.items():
        if name.startswith('classif.'):
            found[f'heads.distill.student.{name.removeprefix("classif.")}'] = _linear(name, value)
    settings = dict(
        voxel_size=0.1,
        feature_columns=[3, 4, 5, 6, 7],
        cell_size=[0.5, 0.5, 0.5],
        num_neighbors=16,
        activation='gelu' if len(linear) == 2 else 'relu',
    )
    return Conversion(found, network, settings)


def segmenting_waffleiron(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """A WaffleIron that segments, with its head: stand-alone or fine-tuned after ScaLR.

    Its file gives neither the size of cells nor whether it has ReLU or GELU.

    Raises:
        CheckpointError: It is not a WaffleIron, or its head does not segment.
    """
    found, network = _trunk(state)
    normalized = 'classif.0.running_mean' in state
    layer = 'classif.1' if normalized else 'classif'
    if f'{layer}.weight' not in state:
        raise CheckpointError('its head does not segment: take the kind scalr')
    classes, channels = state[f'{layer}.weight'].shape[:2]
    network.decode_head = nn.Module()
    network.decode_head.conv_seg = nn.Linear(channels, classes, device='meta')
    if normalized:
        network.decode_head.norm = nn.BatchNorm1d(channels, device='meta')
    for name, value in state.items():
        if name.startswith('classif.'):
            ours = name.replace(f'{layer}.', 'decode_head.conv_seg.').replace('classif.0.', 'decode_head.norm.')
            found[ours] = _linear(name, value)
    settings = dict(voxel_size=0.1, feature_columns=[3, 4, 5, 6, 7], num_neighbors=16)
    return Conversion(found, network, settings)


def _trunk(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], nn.Module]:
    """The tensors of the trunk by our names, and such a network on the meta device."""
    found = {}
    for name, value in state.items():
        if name.startswith(('embed.', 'waffleiron.')):
            name = f'backbone.{name.removeprefix("waffleiron.")}'
            found[name] = _linear(name, value)
    weight = state.get('embed.conv1.weight')
    if weight is None:
        raise CheckpointError('it looks like a WaffleIron without embedding: it has no embed.conv1.weight')
    layers = {m[1] for m in map(re.compile(r'backbone\.spatial_mix\.(\d+)\.').match, found) if m}
    network = nn.Module()
    with torch.device('meta'):
        network.backbone = WaffleIron(
            in_channels=weight.shape[1],
            channels=weight.shape[0],
            depth=len(layers),
            norm='batchnorm' if 'backbone.spatial_mix.0.norm.running_mean' in found else 'layernorm',
        )
    return found, network


def _linear(name: str, value: Tensor) -> Tensor:
    """Convert a convolution of size 1 into a linear layer or a scale; 3x3 kernels stay."""
    if name.endswith('.scale.weight'):
        return value.flatten()
    return value.flatten(1) if value.ndim > 2 and '.ffn.' not in name else value


def write_released(source: str | Path, path: str | Path) -> None:
    """Write one of our WaffleIrons in the form that its released code reads: under `net` with a head that segments.

    Otherwise its weights are under `model_point`.

    Args:
        source: A file of `export_backbone` or `convert_checkpoint`, or a checkpoint of pre-training or fine-tuning.
        path: File to write (atomically).

    Raises:
        CheckpointError: The file cannot be read or has no WaffleIron.
    """
    content = read_checkpoint(source)
    state = own_tensors(content)
    if 'backbone.embed.conv1.weight' not in state:
        raise CheckpointError(f'{source} has no WaffleIron (backbone.embed.conv1.weight is absent): give one of ours')
    names = NAMES + SEGMENTATION_HEADS['decode_head.norm.weight' in state]
    result = {}
    for name, value in state.items():
        released = next((re.sub(pattern, new, name) for pattern, new in names if re.match(pattern, name)), None)
        if released is not None:
            result[released] = _convolution(released, value).detach().clone()
    key = SEGMENTING if 'decode_head.conv_seg.weight' in state else DISTILLED[0]
    with atomic_path(path) as temporary:
        torch.save({key: result}, temporary)


def _convolution(name: str, value: Tensor) -> Tensor:
    """The tensor in the released shape."""
    if name.endswith('.scale.weight'):
        return value[:, None, None]
    added = next((n for pattern, n in CONVOLUTIONS.items() if re.search(pattern, name) and value.ndim == 2), 0)
    return value[(..., *[None] * added)]
