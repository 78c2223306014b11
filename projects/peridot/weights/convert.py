"""Converts weights of other programs to mmdet3d's names and our exported form, and back."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmdet3d.models import MinkUNetBackbone
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError
from peridot.files import atomic_path
from peridot.models.students import DetectorTrunk
from peridot.weights.conversion import Conversion
from peridot.weights.layout import LAYOUT, exported_state, sparse_kernels, to_spconv
from peridot.weights.minkowski import res16unet
from peridot.weights.printed_config import literal_config
from peridot.weights.report import conflicts, misfits
from peridot.weights.segmenter import released_segmenter
from peridot.weights.waffleiron import released_kind, scalr, segmenting_waffleiron

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'


def openpcdet_second(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """SECOND's trunk of OpenPCDet, as ALSO released it and as PV-RCNN uses it.

    Kernels may have the layout of spconv 2 or of spconv 1; other parts of the detector are left out.
    """
    init_default_scope('mmdet3d')
    trunk = DetectorTrunk(SECOND)
    wanted, kernels = trunk.state_dict(), sparse_kernels(trunk)
    result = {}
    for name, value in state.items():
        ours = _openpcdet_name(name)
        if ours is None:
            continue
        older = ours in kernels and value.shape != wanted[ours].shape
        result[ours] = to_spconv(value) if older else value
    # the file gives neither voxel size nor range
    return Conversion(result, trunk)


def _openpcdet_name(name: str) -> str | None:
    part = re.search(r'(?:^|\.)backbone_(2d|3d)\.(.+)$', name)
    if part is None:
        return None
    dimensions, rest = part.groups()
    if dimensions == '3d':
        return 'middle_encoder.' + re.sub(r'^conv(\d+)\.', r'encoder_layers.encoder_layer\1.', rest)
    if rest.startswith('deblocks.'):
        return f'neck.{rest}'
    # a padding layer comes first in OpenPCDet's blocks
    return re.sub(r'^blocks\.(\d+)\.(\d+)\.', lambda m: f'backbone.blocks.{m[1]}.{int(m[2]) - 1}.', rest)


def write_openpcdet(source: str | Path, path: str | Path) -> None:
    """Write one of our SECOND trunks in the form that OpenPCDet loads: `model_state` with kernels of spconv 2.

    Args:
        source: A file of `export_backbone` or `convert_checkpoint`.
        path: File to write (atomically).

    Raises:
        CheckpointError: The file cannot be read or is not such a trunk.
    """
    state = state_of(read_checkpoint(source))
    init_default_scope('mmdet3d')
    trunk = DetectorTrunk(SECOND)
    kernels = sparse_kernels(trunk)
    wanted = trunk.state_dict()
    clashes = conflicts(wanted, state, kernels)
    other = next(iter([*clashes, *(name for name in wanted if name not in state)]), None)
    if other is not None:
        raise CheckpointError(
            f"{source} is not written for OpenPCDet: its {other} is not that of SECOND's trunk on KITTI; give a file "
            'of tools/export_backbone.py from a pre-training run of it'
        )
    released = {
        _to_openpcdet(name): to_spconv(state[name]).contiguous() if name in kernels else state[name] for name in wanted
    }
    with atomic_path(path) as temporary:
        torch.save(dict(model_state=released), temporary)


def _to_openpcdet(name: str) -> str:
    """The inverse of `_openpcdet_name`."""
    name = re.sub(r'^middle_encoder\.(?:encoder_layers\.encoder_layer(?=\d))?', 'backbone_3d.', name)
    name = re.sub(r'^backbone_3d\.(\d)', r'backbone_3d.conv\1', name)
    name = re.sub(r'^backbone\.blocks\.(\d+)\.(\d+)\.', lambda m: f'backbone_2d.blocks.{m[1]}.{int(m[2]) + 1}.', name)
    return re.sub(r'^neck\.', 'backbone_2d.', name)


def torchsparse_minkunet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """mmdet3d's MinkUNet on torchsparse.

    Raises:
        CheckpointError: It is a MinkUNetV2 or has bottleneck blocks.
    """
    result = {}
    for name, value in state.items():
        if name.startswith('backbone.'):
            result[_spconv_name(name)] = _spconv_kernel(value) if name.endswith('.kernel') else value
    channels = _minkunet_channels(result)
    head = state.get('decode_head.conv_seg.weight')
    if head is not None and head.shape[1] != channels['decoder_channels'][-1]:
        raise CheckpointError(
            "it looks like mmdet3d's MinkUNetV2, whose point features mix several levels: it has no spconv form"
        )
    network = nn.Module()
    network.backbone = MinkUNetBackbone(**channels, num_stages=4, sparseconv_backend='spconv')
    return Conversion(result, network, _minkunet_settings(content, channels['in_channels']))


def _spconv_name(name: str) -> str:
    name = re.sub(r'\.kernel$', '.weight', name)
    block = re.match(r'(backbone\.(?:encoder\.\d+\.[1-9]\d*|decoder\.\d+\.1\.\d+))\.net\.(\d+)\.(.+)$', name)
    if block:
        layer = {'0': 'conv1', '1': 'bn1', '3': 'conv2', '4': 'bn2'}.get(block[2])
        if layer is None:
            raise CheckpointError(
                f"it is a MinkUNet with bottleneck blocks ({name}), which mmdet3d's spconv form lacks"
            )
        return f'{block[1]}.{layer}.{block[3]}'
    return name.replace('.net.', '.')


def _spconv_kernel(kernel: Tensor) -> Tensor:
    """torchsparse's kernel (K, in, out), or (in, out) for K = 1, as spconv's (out, X, Y, Z, in).

    torchsparse (1.4 to 2.1) enumerates the offsets of odd kernels with x fastest, as MinkowskiEngine does, and
    those of even ones with z fastest. spconv multiplies by kernels of size 1 without transposing them.
    """
    if kernel.ndim == 2:
        return kernel.reshape(kernel.shape[1], 1, 1, 1, kernel.shape[0])
    size = round(len(kernel) ** (1 / 3))
    if size**3 != len(kernel):
        raise CheckpointError(f'it has a kernel of {len(kernel)} offsets, which is not a cube')
    cube = kernel.reshape(size, size, size, *kernel.shape[1:])
    return cube.permute(4, 2, 1, 0, 3) if size % 2 else cube.permute(4, 0, 1, 2, 3)


def _minkunet_channels(state: Mapping[str, Tensor]) -> dict:
    """Arguments of `MinkUNetBackbone`, from the shapes of its weights."""

    def blocks(pattern: str) -> int:
        return len({m[1] for m in map(re.compile(pattern).match, state) if m})

    try:
        stem = state['backbone.conv_input.0.0.weight']
        return dict(
            in_channels=stem.shape[-1],
            base_channels=stem.shape[0],
            encoder_channels=[state[f'backbone.encoder.{i}.1.conv1.weight'].shape[0] for i in range(4)],
            encoder_blocks=[blocks(rf'backbone\.encoder\.{i}\.([1-9]\d*)\.') for i in range(4)],
            decoder_channels=[state[f'backbone.decoder.{i}.0.0.weight'].shape[0] for i in range(4)],
            decoder_blocks=[blocks(rf'backbone\.decoder\.{i}\.1\.(\d+)\.') for i in range(4)],
        )
    except KeyError as error:
        raise CheckpointError(f'it looks like a MinkUNet of another shape: it has no {error.args[0]}') from None


def _minkunet_settings(content: Mapping, in_channels: int) -> dict | None:
    try:
        model = literal_config(content['meta']['cfg']).model
        if model.data_preprocessor.voxel_type != 'minkunet':
            return None
        size = list(model.data_preprocessor.voxel_layer.voxel_size)
    except (AttributeError, KeyError, TypeError, ValueError):
        # older checkpoints and those of other programs do not have it
        return None
    return dict(voxel_size=size, coordinates='cartesian', feature_columns=list(range(in_channels)))


KINDS: dict[str, Callable[[Mapping[str, Tensor], Mapping], Conversion]] = {
    'also-second': openpcdet_second,
    'drive-and-segment': released_segmenter,
    'mmdet3d-torchsparse': torchsparse_minkunet,
    'res16unet': res16unet,
    'scalr': scalr,
    'waffleiron': segmenting_waffleiron,
}

OWN = "a checkpoint with mmdet3d's own names: give it to load_from as it is"
# readable if the user knows what the file does not say
DEPTH_CONTRAST = (
    "DepthContrast's Res16UNet, whose kernels have another order if a MinkowskiEngine before 0.5 wrote them; if it was "
    'trained with 0.5, as by the authors of SLidR, set --kind res16unet'
)

# pattern of a tensor that only such a file has, and its kind or what to say about it; the first match counts
SIGNATURES = (
    (r'^student\.', 'a checkpoint of a pre-training run of this package: use tools/export_backbone.py'),
    (r'^backbone\..*\.bn\.running_mean$', "mmdet3d's MinkUNet on MinkowskiEngine, which is not supported"),
    (r'^backbone\.point_transforms\.', "mmdet3d's SPVCNN, whose point branch has no spconv form"),
    (r'^backbone\.conv_input\.0\.net\.0\.kernel$', 'mmdet3d-torchsparse'),
    (r'(^|\.)backbone_3d\.', 'also-second'),
    (r'^decoder\.proj_patch$', 'drive-and-segment'),
    (r'^waffleiron\.(spatial|channel)_mix\.', 'waffleiron'),
    (r'^(module\.)?trunk\.2\.conv0p1s1\.kernel$', DEPTH_CONTRAST),
    (r'(^|\.)conv0p1s1\.kernel$', 'res16unet'),
    (r'(^|\.)stem\.0\.kernel$', 'a MinkUNet of torchsparse with the names of SPVNAS (ALSO), which is not supported'),
    (r'^(backbone|middle_encoder|pts_middle_encoder)\..*\.weight$', OWN),
)


def convert_checkpoint(source: str | Path, path: str | Path, kind: str = 'auto') -> tuple[str, list[str]]:
    """Write the trunk of a foreign checkpoint for `load_from` or `init_cfg` of mmdet3d's configs.

    A segmentation head is kept with it, a pre-training head beside the weights, under `heads`.

    Args:
        source: Checkpoint of another program.
        path: File to write (atomically).
        kind: One of `KINDS`, or 'auto' to recognize it by its tensors' names.

    Returns:
        The kind, and what the user should know about the conversion, one line each.

    Raises:
        CheckpointError: The file cannot be read, is of another kind, or does not fit mmdet3d's network.
    """
    content = read_checkpoint(source)
    state = state_of(content)
    kind = _kind(state, content, source, kind)
    try:
        conversion = KINDS[kind](state, content)
    except CheckpointError as error:
        raise CheckpointError(f'{source} is not converted: {error}') from None
    found, network = conversion.state, conversion.network
    wanted = network.state_dict()
    first = next(iter([*conflicts(wanted, found), *misfits(network, found)]), None)
    if first is not None:
        shapes = [str(tuple(side[first].shape)) if first in side else 'absent' for side in (found, wanted)]
        raise CheckpointError(
            f'{source} is not converted: taken for {kind}, but {first} is {shapes[0]} in the file and {shapes[1]} in '
            'the network'
        )
    meta = dict(
        layout=LAYOUT,
        input_settings=conversion.settings,
        input_features=conversion.features,
        source_config='',
        converted_from=kind,
    )
    converted = exported_state(found, sparse_kernels(network))
    # pre-training heads are not part of a segmentor or detector that loads the file
    heads = {name: converted.pop(name) for name in list(converted) if name.startswith('heads.')}
    content = dict(meta=meta, state_dict=converted)
    if heads:
        content['heads'] = {name.removeprefix('heads.'): value for name, value in heads.items()}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return kind, conversion.notes


def loadable(source: str | Path, folder: str | Path) -> Path:
    """A file that mmdet3d's configs can load: the given one, or what `convert_checkpoint` makes of it.

    Args:
        source: File of ours, of mmdet3d, or of another program.
        folder: Where a converted file is kept, named by the content of its source; it is converted once.

    Raises:
        CheckpointError: The file cannot be read or converted.
    """
    if _likeness(state_of(read_checkpoint(source))) == OWN:
        return Path(source)
    digest = hashlib.sha256()
    with open(source, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    converted = Path(folder) / f'{Path(source).stem}-{digest.hexdigest()[:12]}.pth'
    if not converted.is_file():
        convert_checkpoint(source, converted)
    return converted


def _likeness(state: Mapping[str, Tensor]) -> str:
    """Kind of a file by the names of its tensors, or what to say about it."""
    return next(
        (text for pattern, text in SIGNATURES if any(re.search(pattern, name) for name in state)),
        f'something unknown, with tensors like {next(iter(state), "none at all")}',
    )


def _kind(state: Mapping[str, Tensor], content: Mapping, source: str | Path, kind: str) -> str:
    if kind not in ('auto', *KINDS):
        raise CheckpointError(f'kind {kind!r} is unknown: choose auto or one of {", ".join(KINDS)}')
    likeness = _likeness(state)
    if likeness == DEPTH_CONTRAST and kind == 'res16unet':
        return kind
    if likeness == 'waffleiron':
        # a linear head may belong to either: an explicit choice takes precedence
        likeness = kind if kind in ('scalr', 'waffleiron') else released_kind(state, content)
    if likeness not in (KINDS if kind == 'auto' else [kind]):
        supported = ', '.join(KINDS) if kind == 'auto' else kind
        raise CheckpointError(f'{source} is not converted: it looks like {likeness}; supported: {supported}')
    return likeness
