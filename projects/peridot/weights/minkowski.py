"""Res16UNet's weights as MinkowskiEngine's programs write them (SLidR and its relatives), and as ours."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from peridot.checkpoints import meta_of, read_checkpoint
from peridot.errors import CheckpointError
from peridot.files import atomic_path
from peridot.models.backbones import Res16UNet
from peridot.weights.conversion import (
    Conversion,
    feature_columns,
    left_out,
    network_of,
    nuscenes_intensity,
    own_tensors,
)
from peridot.weights.layout import rows_to_spconv, to_spconv

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
        ConfigError: The kernel of its stem has an even size.
    """
    tensors, others = network_of(state, STEM)
    trunk = {_our_name(name): from_minkowski(name, v) for name, v in tensors.items() if TRUNK.match(name)}
    network = nn.Module()
    with torch.device('meta'):
        network.backbone = Res16UNet(**_arguments(trunk))
    config = content.get('config')
    config = config if isinstance(config, Mapping) else {}
    channels = network.backbone.conv0p1s1.in_channels
    features = nuscenes_intensity('none, values as in the files')
    result = Conversion(
        {f'backbone.{name}': value for name, value in trunk.items()},
        network,
        _settings(config, channels),
        features if config.get('dataset') == 'nuscenes' and channels == 1 else None,
    )
    rest = [name for name in tensors if not TRUNK.match(name)]
    if {'final.kernel', 'final.bias'} <= tensors.keys():
        images = 'model_images' in content or any(name.startswith('model_images.') for name in others)
        _add_head(result, tensors, config, images)
        rest = [name for name in rest if not name.startswith('final.')]
    result.notes += left_out([*rest, *others])
    return result


def _arguments(trunk: Mapping[str, Tensor]) -> dict:
    """Arguments of `Res16UNet`, from the shapes of its weights."""

    def layers(block: str) -> int:
        return len({name.split('.')[1] for name in trunk if name.startswith(f'{block}.')})

    blocks = [f'block{i + 1}' for i in range(8)]
    stem_channels, stem_kernel, *_, in_channels = trunk['conv0p1s1.weight'].shape
    try:
        return dict(
            in_channels=in_channels,
            stem_channels=stem_channels,
            channels=[len(trunk[f'{block}.0.conv1.weight']) for block in blocks],
            layers=[layers(block) for block in blocks],
            stem_kernel=stem_kernel,
        )
    except KeyError as error:
        raise CheckpointError(f'it looks like a Res16UNet of another shape: it has no {error.args[0]}') from None


def _our_name(name: str) -> str:
    return re.sub(r'\.kernel$', '.weight', name).replace('.bn.', '.')


def from_minkowski(name: str, value: Tensor) -> Tensor:
    """A kernel of MinkowskiEngine as spconv has it, by its name; other tensors stay.

    The offsets are enumerated with the first axis fastest.

    Raises:
        CheckpointError: A kernel is that of a MinkowskiEngine before 0.5, no cube, or damaged.
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


def _add_head(result: Conversion, tensors: Mapping[str, Tensor], config: Mapping, images: bool) -> None:
    """Add the last layer under our names, and say what it is taken for.

    Of a layer that segments the first class is dropped: it stands for unlabeled points and was never a target.

    Args:
        result: The trunk.
        tensors: The network by its released names.
        config: The file's own.
        images: Whether the file has the image network of pre-training.
    """
    kernel, bias, note = tensors['final.kernel'], tensors['final.bias'].flatten(), ''
    if kernel.ndim != 2:
        raise CheckpointError(f'its final.kernel is damaged: a last layer has 2 dimensions, it has {kernel.ndim}')
    weight, columns = kernel.T, kernel.shape[1]
    if config.get('ignore_index') == 0:
        segments = True
    elif images or 'images_encoder' in config:
        segments = False
    else:
        segments = columns in SEGMENTS
        note = '' if segments else ' (neither 17 nor 20 columns: taken for a head of pre-training)'
    name = 'decode_head.conv_seg' if segments else 'heads.instance.student'
    if segments:
        weight, bias = weight[1:], bias[1:]
        note = ', without unlabeled points'
    result.notes.append(f'final.* of {columns} columns is kept as {name}{note}')
    result.state.update({f'{name}.weight': weight, f'{name}.bias': bias})
    layer = nn.Linear(weight.shape[1], len(weight), device='meta')
    first, *parts = name.split('.')
    for part in reversed(parts):
        layer = nn.ModuleDict({part: layer})
    setattr(result.network, first, layer)


def _settings(config: Mapping, channels: int) -> dict | None:
    """Voxels and input of the network, by the released programs' config; None for files without one."""
    size = config.get('voxel_size')
    if not isinstance(size, (int, float)):
        return None
    cylindrical = bool(config.get('cylindrical_coordinates'))
    return dict(
        voxel_size=[size, 1.0, size] if cylindrical else [size] * 3,
        coordinates='cylindrical' if cylindrical else 'cartesian',
        feature_columns=feature_columns(channels),
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
    kernels = {name: value for name, value in trunk.items() if value.ndim == 5}
    # all kernels are cubes: (out, K, K, K, in) as spconv has them, or (K, K, K, in, out) as in exported files
    native, exported = (all(len({*v.shape[at : at + 3]}) == 1 for v in kernels.values()) for at in (1, 0))
    if 'conv0p1s1.weight' not in kernels or not (native or exported):
        raise CheckpointError(
            f'{source} has no Res16UNet (backbone.conv0p1s1.weight is absent, or a kernel is no cube): give a file of '
            'tools/export_backbone.py or tools/convert_checkpoint.py, or a checkpoint of tools/train.py'
        )
    released = {}
    for name, value in trunk.items():
        if name in kernels:
            released[name.replace('.weight', '.kernel')] = _minkowski(value if native else to_spconv(value))
        else:
            part, _, rest = name.rpartition('.')
            released[f'{part}.bn.{rest}'] = value
    released.update(_last_layer(state))
    result = dict(model_points={name: value.detach().clone() for name, value in released.items()})
    settings = meta_of(content).get('input_settings')
    if settings:
        result.update(_config(settings, path))
    with atomic_path(path) as temporary:
        torch.save(result, temporary)


def _config(settings: Mapping, path: str | Path) -> dict:
    """The entry `config`, the inverse of `_settings`; none for voxels that the released programs do not have."""
    config = dict(
        voxel_size=settings['voxel_size'][0], cylindrical_coordinates=settings['coordinates'] == 'cylindrical'
    )
    if _settings(config, 1)['voxel_size'] == list(settings['voxel_size']):
        return dict(config=config)
    print_log(f'{path} has no config: SLidR has no voxels of {settings["voxel_size"]}', 'current', logging.WARNING)
    return {}


def _last_layer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`final.kernel` (C, D) and `final.bias` (1, D)."""
    name = next((n for n in ('decode_head.conv_seg', 'heads.instance.student') if f'{n}.weight' in state), None)
    if name is None:
        return {}
    weight = state[f'{name}.weight']
    bias = state.get(f'{name}.bias', weight.new_zeros(len(weight)))
    if name == 'decode_head.conv_seg':
        weight = torch.cat((torch.zeros_like(weight[:1]), weight))
        bias = torch.cat((torch.full_like(bias[:1], NEVER), bias))
    return {'final.kernel': weight.T, 'final.bias': bias[None]}
