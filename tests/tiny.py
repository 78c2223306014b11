"""Small networks and batches that tests share."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from mmengine.config import Config
from peridot.models.batch import EncodedBatch
from peridot.models.heads import CLASS_TOKEN
from peridot.models.students import DetectorTrunk, VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from torch import Tensor, nn

SECOND = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
CENTERPOINT = 'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py'
NARROW_RES16UNET = dict(stem_channels=4, channels=(4, 6, 8, 8, 8, 6, 6, 6), layers=(1, 1, 2, 1, 1, 1, 1, 1))
SETTINGS = dict(voxel_size=(0.5, 0.5, 0.5), coordinates='cartesian', feature_columns=(3,))


@MODELS.register_module()
class PointwiseStudent(nn.Module):
    """A linear layer on x, y, z and intensity; counts how often it runs. No sparse convolution, milliseconds.

    Its stage `early` is its input.
    """

    out_channels = 12
    layer_channels = dict(early=4)
    calls = 0

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 12)

    def forward(self, points, layers=()):
        self.calls += 1
        flat = torch.cat(points)
        features = VoxelFeatures(self.backbone(flat).tanh(), torch.arange(len(flat)))
        features.layers = {name: VoxelFeatures(flat, torch.arange(len(flat))) for name in layers}
        return features


@MODELS.register_module()
class TinyTeacher(nn.Module):
    """One convolution of stride 4; counts how often it runs.

    Its layer -2 is a part of it, its class token the mean over the image.
    """

    out_channels = 8
    layer_channels = {-2: 5, CLASS_TOKEN: 8}
    align_corners = True
    calls = 0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images, layers=False):
        self.calls += 1
        found = self.conv(images.float() / 255)
        return {None: found, -2: found[:, :5], CLASS_TOKEN: found.mean((2, 3))} if layers else found


def make_batch(points, student, heads, **fields):
    """An `EncodedBatch` of one scan; `student` may be a tensor (N, C) of features of the points."""
    if isinstance(student, torch.Tensor):
        student = VoxelFeatures(student, torch.arange(len(student)))
    num_images = max(map(len, fields.get('maps', {}).values()), default=0)
    defaults = dict(
        scan=torch.zeros(len(points), dtype=torch.int64),
        frames=Frames.batch([Frames.single(len(points), num_images)]),
        pairs=Pairs.empty(),
        generator=torch.Generator().manual_seed(0),
        make_teacher_map=lambda: None,
    )
    return EncodedBatch(points=points, student=student, heads=nn.ModuleDict(heads), **{**defaults, **fields})


def connected(objective, channels):
    """The objective, told the width of its head."""
    objective.connect(channels)
    return objective


def backbone(base: int = 4, columns: int = 1, **kwargs) -> dict:
    """Config of a MinkUNet with a few channels."""
    return dict(
        type='MinkUNetBackbone',
        in_channels=columns,
        base_channels=base,
        encoder_channels=[4, 4, 8, 8],
        decoder_channels=[8, 8, 8, 8],
        encoder_blocks=[1, 1, 1, 1],
        decoder_blocks=[1, 1, 1, 1],
        sparseconv_backend='spconv',
        **kwargs,
    )


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every tensor unlike that of a new network, counters of batch normalization included."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        value.copy_(torch.rand(value.shape, generator=generator) * 9 + 1)
    return network


def segmentor(network: dict | None = None, **settings) -> torch.nn.Module:
    """mmdet3d's MinkUNet on the student's voxels."""
    return MODELS.build(
        dict(
            type='MinkUNet',
            data_preprocessor=dict(type='peridot.SegPreprocessor', **{**SETTINGS, **settings}),
            backbone=network or backbone(),
            decode_head=dict(type='peridot.PointSegHead', channels=8, num_classes=3, ignore_index=3),
        )
    )


def trunk_and_detector(path: str) -> tuple[DetectorTrunk, torch.nn.Module]:
    """A detector's trunk as student, random in every tensor, and the detector."""
    return randomize(DetectorTrunk(path)), MODELS.build(Config.fromstring(f'_base_ = {path!r}', '.py').model)


def released_state(
    columns: int | None = 8,
    layers: tuple = NARROW_RES16UNET['layers'],
    channels: tuple = NARROW_RES16UNET['channels'],
    stem_channels: int = NARROW_RES16UNET['stem_channels'],
) -> dict[str, Tensor]:
    """Random weights of a Res16UNet with the names and shapes of SLidR's code; `columns` are those of its head."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def kernel(name: str, *shape: int) -> None:
        state[f'{name}.kernel'] = torch.randn(shape, generator=generator)

    def norm(name: str, width: int) -> None:
        for key in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'{name}.bn.{key}'] = torch.rand(width, generator=generator)
        state[f'{name}.bn.num_batches_tracked'] = torch.tensor(7)

    def blocks(name: str, width: int, out: int, number: int) -> None:
        for j in range(number):
            kernel(f'{name}.{j}.conv1', 27, width, out)
            norm(f'{name}.{j}.norm1', out)
            kernel(f'{name}.{j}.conv2', 27, out, out)
            norm(f'{name}.{j}.norm2', out)
            if width != out:
                kernel(f'{name}.{j}.downsample.0', width, out)
                norm(f'{name}.{j}.downsample.1', out)
            width = out

    kernel('conv0p1s1', 27, 1, stem_channels)
    norm('bn0', stem_channels)
    width = stem_channels
    for i in range(4):
        kernel(f'conv{i + 1}p{2**i}s2', 8, width, width)
        norm(f'bn{i + 1}', width)
        blocks(f'block{i + 1}', width, channels[i], layers[i])
        width = channels[i]
    for i in range(4, 8):
        kernel(f'convtr{i}p{2 ** (8 - i)}s2', 8, width, channels[i])
        norm(f'bntr{i}', channels[i])
        skip = channels[6 - i] if i < 7 else stem_channels
        blocks(f'block{i + 1}', channels[i] + skip, channels[i], layers[i])
        width = channels[i]
    if columns is not None:
        kernel('final', width, columns)
        state['final.bias'] = torch.randn(1, columns, generator=generator)
    return state


def saved(folder: Path, content: dict) -> Path:
    """A file of another program."""
    torch.save(content, folder / 'foreign.pth')
    return folder / 'foreign.pth'


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors with a longer name."""
    return {prefix + name: value for name, value in state.items()}


def without(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose names lack a part."""
    return {name: value for name, value in state.items() if part not in name}


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of size 1 with three dimensions, as before MinkowskiEngine 0.5."""
    return {n: v[None] if n.endswith('.kernel') and v.ndim == 2 else v for n, v in state.items()}


class EasyDict(dict):
    """As easydict pickles it: the items twice, as those of a dict and as attributes."""

    def __init__(self, **items):
        for name, value in items.items():
            self[name] = value
            setattr(self, name, value)


@contextmanager
def easydict_installed(*others: type) -> Iterator[None]:
    """Inside the block, `EasyDict` and other classes are pickled as those of the package easydict."""
    module = ModuleType('easydict')
    with ExitStack() as stack:
        stack.enter_context(patch.dict(sys.modules, easydict=module))
        for entry in (EasyDict, *others):
            setattr(module, entry.__name__, entry)
            stack.enter_context(patch.object(entry, '__module__', 'easydict'))
        yield


@torch.no_grad()
def soften(network: nn.Module) -> nn.Module:
    """Random weights and batch statistics of moderate size."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            fan_in = value[0].numel() if value.ndim > 1 else 1
            positive = 'var' in name or (value.ndim == 1 and 'weight' in name)
            value.copy_(noise.abs() * 0.3 + 0.5 if positive else noise / fan_in**0.5)
    return network.eval()
