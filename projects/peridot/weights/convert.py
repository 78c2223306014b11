"""Converts weights of other programs to mmdet3d's names and our exported form, and back."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import Tensor

from peridot.checkpoints import meta_of, read_checkpoint, state_of
from peridot.errors import CheckpointError, PeridotError
from peridot.files import atomic_path
from peridot.models.students import DetectorTrunk
from peridot.weights.conversion import Conversion, left_out, network_of
from peridot.weights.layout import LAYOUT, as_spconv, exported_state, sparse_kernels
from peridot.weights.minkowski import res16unet
from peridot.weights.report import conflicts, misfits
from peridot.weights.segmenter import released_segmenter
from peridot.weights.torchsparse import spvnas_minkunet, superflow_minkunet, torchsparse_minkunet
from peridot.weights.waffleiron import released_kind, scalr, segmenting_waffleiron

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
UNKNOWN_VOXELS = 'the voxels it was trained with are not known: set those of its program'
# part of the names of files that `loadable` keeps; a conversion that changes takes the next one
FORMAT = 2


def openpcdet_second(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """SECOND's trunk of OpenPCDet, as ALSO and BEVContrast released it and as PV-RCNN uses it.

    Kernels may have the layout of spconv 2 or of spconv 1; other parts of the detector are left out.
    """
    return _second(*network_of(state, 'backbone_3d.conv_input.0.weight'), 'neck')


def slidr_voxelnet(state: Mapping[str, Tensor], content: Mapping) -> Conversion:
    """SLidR's VoxelNet: the sparse encoder of SECOND's trunk. It has no layers on the ground plane."""
    tensors, others = network_of(state, 'conv_input.0.weight')
    tensors = {f'backbone_3d.{name}' if name.startswith('conv') else name: value for name, value in tensors.items()}
    conversion = _second(tensors, others, 'middle_encoder')
    conversion.notes.append("it has no 2D layers: the detector's backbone and neck start from random weights")
    return conversion


def _second(tensors: Mapping[str, Tensor], others: list[str], read_after: str) -> Conversion:
    """SECOND's trunk from OpenPCDet's tensors; `others` are left out, `read_after` is that of `DetectorTrunk`."""
    init_default_scope('mmdet3d')
    trunk = DetectorTrunk(SECOND, read_after)
    wanted, kernels = trunk.state_dict(), sparse_kernels(trunk)
    names = {name: _openpcdet_name(name) for name in tensors}
    result = {ours: tensors[name] for name, ours in names.items() if ours is not None}
    for name in kernels & result.keys():
        result[name] = as_spconv(result[name], wanted[name].shape)
    return Conversion(result, trunk, notes=left_out([*(name for name in names if names[name] is None), *others]))


def _openpcdet_name(name: str) -> str | None:
    part = re.match(r'backbone_(2d|3d)\.(.+)$', name)
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
    native = {name: as_spconv(state[name], wanted[name].shape).contiguous() for name in kernels}
    released = {_to_openpcdet(name): native.get(name, state[name]) for name in wanted}
    with atomic_path(path) as temporary:
        torch.save(dict(model_state=released), temporary)


def _to_openpcdet(name: str) -> str:
    """The inverse of `_openpcdet_name`."""
    name = re.sub(r'^middle_encoder\.(?:encoder_layers\.encoder_layer(?=\d))?', 'backbone_3d.', name)
    name = re.sub(r'^backbone_3d\.(\d)', r'backbone_3d.conv\1', name)
    name = re.sub(r'^backbone\.blocks\.(\d+)\.(\d+)\.', lambda m: f'backbone_2d.blocks.{m[1]}.{int(m[2]) + 1}.', name)
    return re.sub(r'^neck\.', 'backbone_2d.', name)


KINDS: dict[str, Callable[[Mapping[str, Tensor], Mapping], Conversion]] = {
    'also-second': openpcdet_second,
    'drive-and-segment': released_segmenter,
    'mmdet3d-torchsparse': torchsparse_minkunet,
    'res16unet': res16unet,
    'scalr': scalr,
    'slidr-voxelnet': slidr_voxelnet,
    'spvnas': spvnas_minkunet,
    'superflow': superflow_minkunet,
    'waffleiron': segmenting_waffleiron,
}

OWN = "a checkpoint with mmdet3d's own names: give it to load_from as it is"
# readable if the user knows what the file does not say
DEPTH_CONTRAST = (
    "DepthContrast's Res16UNet, whose kernels have another order if a MinkowskiEngine before 0.5 wrote them; if it was "
    'trained with 0.5, as by the authors of SLidR, convert it with tools/convert_checkpoint.py --kind res16unet'
)

# pattern of a tensor that only such a file has, and its kind or what to say about it; the first match counts
SIGNATURES = (
    (r'^student\.', 'a checkpoint of a pre-training run of this package: use tools/export_backbone.py'),
    (r'^backbone\.conv_input\..*\.bn\.running_mean$', "mmdet3d's MinkUNet on MinkowskiEngine, which is not supported"),
    (r'(^|\.)point_transforms\.', 'an SPVCNN, whose point branch has no spconv form'),
    (r'^backbone\.conv_input\.0\.net\.0\.kernel$', 'mmdet3d-torchsparse'),
    (r'(^|\.)conv0\.0\.conv\.kernel$', 'superflow'),
    (r'(^|\.)backbone_3d\.conv_input\.0\.weight$', 'also-second'),
    (r'^(model_points\.)?conv_input\.0\.weight$', 'slidr-voxelnet'),
    (r'^decoder\.proj_patch$', 'drive-and-segment'),
    (r'^waffleiron\.(spatial|channel)_mix\.', 'waffleiron'),
    (r'(^|\.)trunk\.2\.conv0p1s1\.kernel$', DEPTH_CONTRAST),
    (r'(^|\.)conv0p1s1\.kernel$', 'res16unet'),
    (r'(^|\.)stem\.0\.kernel$', 'spvnas'),
    (r'^(pts_)?(voxel_encoder|middle_encoder|backbone|neck)\.', OWN),
)


def convert_checkpoint(source: str | Path, path: str | Path, kind: str = 'auto') -> tuple[str, list[str]]:
    """Write the trunk of a foreign checkpoint for `load_from` or `init_cfg` of mmdet3d's configs.

    A head that a network here has is kept: one that segments with the trunk, one of pre-training beside the weights,
    under `heads`.

    Args:
        source: Checkpoint of another program.
        path: File to write (atomically).
        kind: One of `KINDS`, or 'auto' to recognize it by its tensors' names.

    Returns:
        The kind, and what the user should know about the conversion, one line each.

    Raises:
        CheckpointError: The file cannot be read, is of another kind, or does not fit mmdet3d's network.
        ConfigError: A package is missing, or no network here has the file's shapes.
    """
    content = read_checkpoint(source)
    state = state_of(content)
    kind = _kind(state, content, source, kind)
    try:
        conversion = KINDS[kind](state, content)
    except PeridotError as error:
        raise type(error)(f'{source} is not converted: {error}') from None
    wanted, found = conversion.network.state_dict(), conversion.state
    first = next(iter([*conflicts(wanted, found), *misfits(conversion.network, found)]), None)
    if first is not None:
        shapes = [str(tuple(side[first].shape)) if first in side else 'absent' for side in (found, wanted)]
        raise CheckpointError(
            f'{source} is not converted: taken for {kind}, but {first} is {shapes[0]} in the file and {shapes[1]} in '
            'the network'
        )
    _write(conversion, kind, path)
    if conversion.settings is None:
        conversion.notes.append(UNKNOWN_VOXELS)
    return kind, conversion.notes


def _write(conversion: Conversion, kind: str, path: str | Path) -> None:
    """Write what was converted from a kind of file as an exported one."""
    meta = dict(
        layout=LAYOUT,
        input_settings=conversion.settings,
        input_features=conversion.features,
        source_config='',
        converted_from=kind,
    )
    state = exported_state(conversion.state, sparse_kernels(conversion.network))
    # pre-training heads are not part of a segmentor or detector that loads the file
    heads = {name.removeprefix('heads.'): state.pop(name) for name in list(state) if name.startswith('heads.')}
    content = dict(meta=meta, state_dict=state)
    if heads:
        content['heads'] = heads
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def loadable(source: str | Path, folder: str | Path) -> Path:
    """A file that mmdet3d's configs can load: the given one, or what `convert_checkpoint` makes of it, with its notes.

    Args:
        source: File of ours, of mmdet3d, or of another program. One that is not recognized may have a network of the
            user's own and stays as it is.
        folder: Where a converted file is kept, named by the content of its source; it is converted once.

    Raises:
        CheckpointError: The file cannot be read or converted.
    """
    content = read_checkpoint(source)
    if 'layout' in meta_of(content) or _likeness(state_of(content)) in (OWN, None):
        return Path(source)
    digest = hashlib.sha256()
    with open(source, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    converted = Path(folder) / f'{Path(source).stem}-{digest.hexdigest()[:12]}-{FORMAT}.pth'
    if not converted.is_file():
        kind, notes = convert_checkpoint(source, converted)
        print_log('\n'.join([f'{source} converted: {converted} ({kind})', *notes]))
    return converted


def _likeness(state: Mapping[str, Tensor]) -> str | None:
    """Kind of a file by the names of its tensors, or what to say about it; None if unknown."""
    return next((text for pattern, text in SIGNATURES if any(re.search(pattern, name) for name in state)), None)


def _kind(state: Mapping[str, Tensor], content: Mapping, source: str | Path, kind: str) -> str:
    if kind not in ('auto', *KINDS):
        raise CheckpointError(f'kind {kind!r} is unknown: choose auto or one of {", ".join(KINDS)}')
    likeness = _likeness(state) or f'something unknown, with tensors like {next(iter(state), "none at all")}'
    if likeness == DEPTH_CONTRAST and kind == 'res16unet':
        return kind
    if likeness == 'waffleiron':
        # a linear head may belong to either: an explicit choice takes precedence
        likeness = kind if kind in ('scalr', 'waffleiron') else released_kind(state, content)
    if likeness not in (KINDS if kind == 'auto' else [kind]):
        supported = ', '.join(KINDS) if kind == 'auto' else kind
        raise CheckpointError(f'{source} is not converted: it looks like {likeness}; supported: {supported}')
    return likeness
