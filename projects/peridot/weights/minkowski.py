"""Res16UNet's weights as MinkowskiEngine's programs write them (SLidR and its relatives), and as ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint
from peridot.errors import CheckpointError
from peridot.files import atomic_path
from peridot.models.backbones import Res16UNet
from peridot.weights.conversion import UNKNOWN_VOXELS, Conversion, left_out, network_of, own_tensors
from peridot.weights.layout import kernel_size, rows_to_spconv, to_spconv

STEM = 'conv0p1s1.kernel'
TRUNK = re.compile(r'(conv|bn|convtr|bntr|block)\d')
# columns of a last layer that segments, one of them for unlabeled points: nuScenes and SemanticKITTI
SEGMENTS = (17, 20)
# logit of unlabeled points in files that we write: no point gets that class
NEVER = -1e4


def res16unet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """A Res16UNet, with the last layer of pre-training or of segmentation; further heads are left out.

    Raises:
        CheckpointError: It lacks a part, or its kernels are those of a MinkowskiEngine before 0.5.
    """
    state = network_of(state, STEM)
    network = nn.Module()
    with torch.device('meta'):
        network.backbone = Res16UNet(**_arguments(state))
    found = {f'backbone.{_our_name(name)}': from_minkowski(name, v) for name, v in state.items() if TRUNK.match(name)}
    heads = [name for name in state if not TRUNK.match(name)]
    notes = []
    if {'final.kernel', 'final.bias'} <= state.keys():
        found.update(_head(network, state))
        heads = [name for name in heads if not name.startswith('final.')]
        kept = 'decode_head.conv_seg, without unlabeled points' if hasattr(network, 'decode_head') else 'heads.instance'
        notes.append(f'final.* of {state["final.kernel"].shape[1]} columns is kept as {kept}')
    notes += left_out(heads)
    config = content.get('config')
    config = config if isinstance(config, Mapping) else {}
    settings = _settings(config)
    if settings is None:
        notes.append(UNKNOWN_VOXELS)
    return Conversion(found, network, settings, _features(config), notes)


def _arguments(state: Mapping[str, Tensor]) -> dict:
    """Arguments of `Res16UNet`, from the shapes of its weights."""

    def layers(block: str) -> int:
        return len({name.split('.')[1] for name in state if name.startswith(f'{block}.')})

    blocks = [f'block{i + 1}' for i in range(8)]
    try:
        return dict(
            in_channels=state[STEM].shape[1],
            stem_channels=state[STEM].shape[2],
            channels=[state[f'{block}.0.conv1.kernel'].shape[2] for block in blocks],
            layers=[layers(block) for block in blocks],
            stem_kernel=kernel_size(STEM, state[STEM]),
        )
    except KeyError as error:
        raise CheckpointError(f'it looks like a Res16UNet of another shape: it has no {error.args[0]}') from None


def _our_name(name: str) -> str:
    return re.sub(r'\.kernel$', '.weight', name).replace('.bn.', '.')


def from_minkowski(name: str, value: Tensor) -> Tensor:
    """A kernel of MinkowskiEngine as spconv has it, by its name; other tensors stay.

    The offsets are enumerated with the first axis fastest.

    Raises:
        CheckpointError: A kernel is that of a MinkowskiEngine before 0.5, or no cube.
    """
    if not name.endswith('.kernel'):
        return value
    if value.ndim == 3 and len(value) == 1:
        raise CheckpointError(
            f'its {name} has three dimensions: before version 0.5 MinkowskiEngine wrote such files, and enumerated the '
            'offsets of its kernels in another order'
        )
    return rows_to_spconv(name, value)


def _minkowski(value: Tensor) -> Tensor:
    """The inverse of `from_minkowski` for a kernel."""
    out, size, *_, channels = value.shape
    if size == 1:
        return value.reshape(channels, out)
    return value.permute(3, 2, 1, 4, 0).reshape(size**3, channels, out)


def _head(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The last layer under our names, and the same layer in the network.

    Of a layer that segments the first class is dropped: it stands for unlabeled points and was never a target.
    """
    weight, bias = state['final.kernel'].T, state['final.bias'].flatten()
    segments = len(weight) in SEGMENTS
    if segments:
        weight, bias = weight[1:], bias[1:]
    layer = nn.Linear(weight.shape[1], len(weight), device='meta')
    if segments:
        network.decode_head = nn.ModuleDict(dict(conv_seg=layer))
        return {'decode_head.conv_seg.weight': weight, 'decode_head.conv_seg.bias': bias}
    network.heads = nn.ModuleDict(dict(instance=nn.ModuleDict(dict(student=layer))))
    return {'heads.instance.student.weight': weight, 'heads.instance.student.bias': bias}


def _settings(config: Mapping) -> dict | None:
    """Voxels and input of the network, by the released programs' config; None for files without one."""
    size = config.get('voxel_size')
    if not isinstance(size, (int, float)):
        return None
    cylindrical = bool(config.get('cylindrical_coordinates'))
    return dict(
        voxel_size=[size, 1.0, size] if cylindrical else [size] * 3,
        coordinates='cylindrical' if cylindrical else 'cartesian',
        feature_columns=[3],
    )


def _features(config: Mapping) -> dict | None:
    if config.get('dataset') != 'nuscenes':
        return None
    return dict(
        dataset='nuscenes',
        columns=['intensity'],
        intensity_range=[0, 255],
        normalization='none, values as in the files',
    )


def write_minkowski(source: str | Path, path: str | Path) -> None:
    """Write one of our Res16UNets in the form that SLidR's code loads: `model_points`, and the voxels in `config`.

    The last layer is the segmentation head, or the projection head `instance` of the file; without either the file has
    the trunk alone.

    Args:
        source: A file of `export_backbone` or `convert_checkpoint`, or a checkpoint of pre-training or fine-tuning.
        path: File to write (atomically).

    Raises:
        CheckpointError: The file cannot be read or has no Res16UNet.
    """
    content = read_checkpoint(source)
    state = own_tensors(content)
    trunk = {name.removeprefix('backbone.'): v for name, v in state.items() if name.startswith('backbone.')}
    if 'conv0p1s1.weight' not in trunk:
        raise CheckpointError(
            f'{source} has no Res16UNet (backbone.conv0p1s1.weight is absent): give a file of tools/export_backbone.py '
            'or tools/convert_checkpoint.py, or a checkpoint of tools/train.py'
        )
    meta = content.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    exported = 'layout' in meta
    released = {}
    for name, value in trunk.items():
        if value.ndim == 5:
            released[name.replace('.weight', '.kernel')] = _minkowski(to_spconv(value) if exported else value)
        else:
            part, _, rest = name.rpartition('.')
            released[f'{part}.bn.{rest}'] = value
    released.update(_last_layer(state))
    result = dict(model_points={name: value.detach().clone() for name, value in released.items()})
    settings = meta.get('input_settings')
    if settings:
        cylindrical = settings['coordinates'] == 'cylindrical'
        result['config'] = dict(voxel_size=settings['voxel_size'][0], cylindrical_coordinates=cylindrical)
    with atomic_path(path) as temporary:
        torch.save(result, temporary)


def _last_layer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`final.kernel` (C, D) and `final.bias` (1, D)."""
    if 'decode_head.conv_seg.weight' in state:
        weight, bias = state['decode_head.conv_seg.weight'], state['decode_head.conv_seg.bias']
        weight = torch.cat((torch.zeros_like(weight[:1]), weight))
        bias = torch.cat((torch.full_like(bias[:1], NEVER), bias))
    elif 'heads.instance.student.weight' in state:
        weight, bias = state['heads.instance.student.weight'], state['heads.instance.student.bias']
    else:
        return {}
    return {'final.kernel': weight.T, 'final.bias': bias[None]}
