"""MinkUNets as torchsparse's programs write them, for mmdet3d's MinkUNet on spconv or for our Res16UNet."""

import re
from collections.abc import Iterable, Mapping

import torch
from mmdet3d.models import MinkUNetBackbone
from torch import Tensor, nn

from peridot.errors import CheckpointError
from peridot.models.backbones import Res16UNet
from peridot.weights.conversion import Conversion, feature_columns, left_out, network_of, nuscenes_intensity
from peridot.weights.layout import rows_to_spconv
from peridot.weights.minkowski import from_minkowski
from peridot.weights.printed_config import literal_config

STEM = 'backbone.conv_input.0.0.weight'
HEAD = 'decode_head.conv_seg'


def torchsparse_minkunet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """mmdet3d's MinkUNet on torchsparse, with its last layer: on spconv it has the same one.

    Raises:
        CheckpointError: It is a MinkUNetV2 or has bottleneck blocks.
    """
    found = {_spconv_name(name): from_torchsparse(name, v) for name, v in state.items() if name.startswith('backbone.')}
    head = {name: state[name] for name in (f'{HEAD}.weight', f'{HEAD}.bias') if name in state}
    weight, width = head.get(f'{HEAD}.weight'), _channels(found)['decoder_channels'][-1]
    if weight is not None and weight.shape[-1:] != (width,):
        raise CheckpointError(
            "it looks like mmdet3d's MinkUNetV2, whose point features mix several levels: it has no spconv form"
        )
    rest = [name for name in state if not name.startswith('backbone.') and name not in head]
    conversion = _conversion(found, rest, _printed_settings(content, found))
    if weight is not None:
        conversion.state.update(head)
        conversion.network.decode_head = nn.ModuleDict(dict(conv_seg=nn.Linear(width, len(weight), device='meta')))
        conversion.notes.append(f'{HEAD} of {len(weight)} classes is kept')
    return conversion


def spvnas_minkunet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """A MinkUNet with the names of SPVNAS, on torchsparse (ALSO, BEVContrast) or MinkowskiEngine (BEVContrast).

    Raises:
        CheckpointError: It lacks a part, or its kernels are those of a MinkowskiEngine before 0.5.
    """
    tensors, others = network_of(state, 'stem.0.kernel')
    trunk = {name: value for name, value in tensors.items() if re.match(r'(stem|stage\d|up\d)\.', name)}
    # MinkowskiEngine wraps a layer `bn` of torch
    read = from_minkowski if any('.bn.' in name for name in trunk) else from_torchsparse
    found = {_spconv_name(_mmdet3d_name(name)): read(name, value) for name, value in trunk.items()}
    rest = [name for name in tensors if name not in trunk]
    conversion = _conversion(found, [*rest, *others], _bevcontrast_settings(content, found))
    if found[STEM].shape[-1] == 1:
        conversion.features = nuscenes_intensity('intensity / 255')
        conversion.notes.append("it learned nuScenes' intensities divided by 255: set LoadPoints intensity_scale=255")
    return conversion


def superflow_minkunet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """SuperFlow's and LiMoE's MinkUNet on torchsparse, of pre-training or of fine-tuning.

    Raises:
        CheckpointError: It lacks a part or has bottleneck blocks.
    """
    trunk, others = network_of(state, 'conv0.0.conv.kernel')
    found = {_superflow_name(name): from_torchsparse(name, value) for name, value in trunk.items()}
    return _conversion(found, others, _printed_settings(content, found))


def from_torchsparse(name: str, value: Tensor) -> Tensor:
    """A kernel of torchsparse as spconv has it, by its name; other tensors stay.

    torchsparse (1.4 to 2.1) enumerates the offsets of odd kernels with the first axis fastest, as MinkowskiEngine does,
    and those of even ones with the last axis fastest.

    Raises:
        CheckpointError: A kernel is no cube, or it has another number of dimensions.
    """
    return rows_to_spconv(name, value, even_last_fastest=True) if name.endswith('.kernel') else value


def _conversion(found: dict[str, Tensor], rest: Iterable[str], settings: dict | None) -> Conversion:
    """mmdet3d's network, or ours if the stem has one convolution: from there on they are the same.

    Args:
        found: Tensors under the names of mmdet3d's network on spconv.
        rest: Names of the tensors that are not part of it.
        settings: Voxels and input columns, if known.
    """
    channels, notes = _channels(found), left_out(rest)
    network = nn.Module()
    with torch.device('meta'):
        if any(name.startswith('backbone.conv_input.1.') for name in found):
            network.backbone = MinkUNetBackbone(**channels, num_stages=4, sparseconv_backend='spconv')
        else:
            found = {_res16unet_name(name): value for name, value in found.items()}
            network.backbone = Res16UNet(
                channels['in_channels'],
                channels['base_channels'],
                channels['encoder_channels'] + channels['decoder_channels'],
                channels['encoder_blocks'] + channels['decoder_blocks'],
            )
            notes.append("its stem has one convolution, mmdet3d's has two: it fits peridot.Res16UNet")
    return Conversion(found, network, settings, notes=notes)


def _channels(state: Mapping[str, Tensor]) -> dict:
    """Arguments of `MinkUNetBackbone`, from the shapes of its weights."""

    def blocks(pattern: str) -> int:
        return len({m[1] for m in map(re.compile(pattern).match, state) if m})

    try:
        return dict(
            in_channels=state[STEM].shape[-1],
            base_channels=state[STEM].shape[0],
            encoder_channels=[state[f'backbone.encoder.{i}.1.conv1.weight'].shape[0] for i in range(4)],
            encoder_blocks=[blocks(rf'backbone\.encoder\.{i}\.([1-9]\d*)\.') for i in range(4)],
            decoder_channels=[state[f'backbone.decoder.{i}.0.0.weight'].shape[0] for i in range(4)],
            decoder_blocks=[blocks(rf'backbone\.decoder\.{i}\.1\.(\d+)\.') for i in range(4)],
        )
    except KeyError as error:
        raise CheckpointError(f'it looks like a MinkUNet of another shape: it has no {error.args[0]}') from None


def _mmdet3d_name(name: str) -> str:
    """Name in mmdet3d's MinkUNet on torchsparse of a tensor with the name that SPVNAS gives it."""
    name = re.sub(r'^stem\.(\d+)\.', lambda m: f'conv_input.{int(m[1]) // 3}.net.{int(m[1]) % 3}.', name)
    name = re.sub(r'^stage(\d)\.', lambda m: f'encoder.{int(m[1]) - 1}.', name)
    name = re.sub(r'^up(\d)\.', lambda m: f'decoder.{int(m[1]) - 1}.', name)
    return 'backbone.' + name.replace('.bn.', '.')


def _spconv_name(name: str) -> str:
    """Name on spconv of a tensor of mmdet3d's MinkUNet on torchsparse."""
    name = re.sub(r'\.kernel$', '.weight', name)
    block = re.match(r'(backbone\.(?:encoder\.\d+\.[1-9]\d*|decoder\.\d+\.1\.\d+))\.net\.(\d+)\.(.+)$', name)
    if block:
        layer = {'0': 'conv1', '1': 'bn1', '3': 'conv2', '4': 'bn2'}.get(block[2])
        if layer is None:
            raise _bottleneck(name)
        return f'{block[1]}.{layer}.{block[3]}'
    return name.replace('.net.', '.')


def _superflow_name(name: str) -> str:
    """Name in mmdet3d's MinkUNet on spconv of a tensor of SuperFlow's."""
    if '.conv3.' in name:
        raise _bottleneck(name)
    name = re.sub(r'^conv0\.', 'conv_input.', name)
    name = re.sub(r'^conv([1-4])\.', lambda m: f'encoder.{int(m[1]) - 1}.0.', name)
    name = re.sub(r'^conv([5-8])\.', lambda m: f'decoder.{int(m[1]) - 5}.0.', name)
    name = re.sub(r'^block([1-4])\.(\d+)\.', lambda m: f'encoder.{int(m[1]) - 1}.{int(m[2]) + 1}.', name)
    name = re.sub(r'^block([5-8])\.', lambda m: f'decoder.{int(m[1]) - 5}.1.', name)
    name = re.sub(r'\.norm([12])\.', r'.bn\1.', name).replace('.conv.', '.0.').replace('.norm.', '.1.')
    return 'backbone.' + re.sub(r'\.kernel$', '.weight', name)


def _res16unet_name(name: str) -> str:
    """Name in our Res16UNet of a tensor with the name that mmdet3d's MinkUNet on spconv gives it."""
    name = re.sub(r'\.bn([12])\.', r'.norm\1.', name)
    name = name.replace('conv_input.0.0.', 'conv0p1s1.').replace('conv_input.0.1.', 'bn0.')
    name = re.sub(r'encoder\.(\d)\.0\.0\.', lambda m: f'conv{int(m[1]) + 1}p{2 ** int(m[1])}s2.', name)
    name = re.sub(r'encoder\.(\d)\.0\.1\.', lambda m: f'bn{int(m[1]) + 1}.', name)
    name = re.sub(r'encoder\.(\d)\.(\d+)\.', lambda m: f'block{int(m[1]) + 1}.{int(m[2]) - 1}.', name)
    name = re.sub(r'decoder\.(\d)\.0\.0\.', lambda m: f'convtr{int(m[1]) + 4}p{2 ** (4 - int(m[1]))}s2.', name)
    name = re.sub(r'decoder\.(\d)\.0\.1\.', lambda m: f'bntr{int(m[1]) + 4}.', name)
    return re.sub(r'decoder\.(\d)\.1\.', lambda m: f'block{int(m[1]) + 5}.', name)


def _bottleneck(name: str) -> CheckpointError:
    return CheckpointError(f"it is a MinkUNet with bottleneck blocks ({name}), which mmdet3d's spconv form lacks")


def _printed_settings(content: Mapping, found: Mapping[str, Tensor]) -> dict | None:
    """Voxels by the config that mmengine prints into a checkpoint: mmdet3d's, or SuperFlow's."""
    try:
        voxels = literal_config(content['meta']['cfg']).model.data_preprocessor
        coordinates = dict(minkunet='cartesian', cubic='cartesian', cylinder='cylindrical')[voxels.voxel_type]
        size = list((voxels.voxel_layer if voxels.voxel_type == 'minkunet' else voxels).voxel_size)
    except (AttributeError, KeyError, TypeError, ValueError):
        # older checkpoints and those of other programs do not have it
        return None
    return dict(voxel_size=size, coordinates=coordinates, feature_columns=feature_columns(found[STEM].shape[-1]))


def _bevcontrast_settings(content: Mapping, found: Mapping[str, Tensor]) -> dict | None:
    """Voxels by the config that BEVContrast keeps in its checkpoints; ALSO keeps none."""
    try:
        size = content['config']['DATASET']['VOXEL_SIZE']
    except (KeyError, TypeError):
        return None
    if not isinstance(size, (int, float)):
        return None
    columns = feature_columns(found[STEM].shape[-1])
    return dict(voxel_size=[size] * 3, coordinates='cartesian', feature_columns=columns)
