"""Sparse convolutions: all kinds of layers that the networks have, against a plain sum in float64 on the CPU."""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from peridot.gpu_check.checks import Checks, Differs, Setup
from peridot.gpu_check.clouds import lidar_points
from peridot.gpu_check.compare import check_limits, relative_difference, tf32
from peridot.models.students import voxelize


class Layer(NamedTuple):
    """A kind of layer.

    Attributes:
        type: Class in `spconv.pytorch`.
        channels: Of inputs and outputs.
        kernel: Kernel size along the three axes.
        stride: Stride, 1 for submanifold convolutions.
        padding: Zeros around the grid.
    """

    type: str
    channels: tuple[int, int]
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)


TWO, THREE, ONE = (2,) * 3, (3,) * 3, (1,) * 3
LAYERS = {
    'submanifold k3': Layer('SubMConv3d', (32, 64), THREE, padding=ONE),
    'submanifold k3 of one channel': Layer('SubMConv3d', (1, 32), THREE, padding=ONE),
    'submanifold k5': Layer('SubMConv3d', (16, 32), (5,) * 3, padding=TWO),
    'submanifold k1': Layer('SubMConv3d', (32, 64), ONE),
    'strided k2': Layer('SparseConv3d', (32, 32), TWO, TWO),
    'strided k3': Layer('SparseConv3d', (32, 64), THREE, TWO, ONE),
    'strided (3, 1, 1)': Layer('SparseConv3d', (32, 64), (3, 1, 1), (2, 1, 1)),
    'inverse k2': Layer('SparseInverseConv3d', (64, 32), TWO, TWO),
    'inverse k3': Layer('SparseInverseConv3d', (64, 32), THREE, TWO, ONE),
}
# whether TF32 is allowed, and the type of autocast
MODES = {
    'float32': (False, None),
    'float32 with TF32': (True, None),
    'float16': (False, torch.float16),
    'bfloat16': (False, torch.bfloat16),
}
# largest relative difference: TF32 and float16 have 11 bits, bfloat16 has 8
LIMITS = {'float32': 2e-5, 'float32 with TF32': 4e-3, 'float16': 1e-2, 'bfloat16': 4e-2}
PARTS = ('output', 'gradient of features', 'gradient of weight')


class Grid(NamedTuple):
    """Voxels of two scans.

    Attributes:
        coords: Int32 (M, 4), scan and three indices.
        shape: Number of voxels along the three axes.
    """

    coords: Tensor
    shape: list[int]


def checks(setup: Setup) -> Checks:
    """Which spconv it is, and every layer in every mode."""
    yield 'which spconv', spconv_in_use
    grid = voxels(600 if setup.small else 30_000)
    for name, layer in LAYERS.items():
        for mode in MODES:
            yield f'{name}, {mode}', partial(compare_layer, layer, mode, grid, setup.device)


def spconv_in_use() -> dict:
    """Kind and version of the installed spconv, and where it lies."""
    import spconv.pytorch
    from spconv import constants

    package = spconv.pytorch.__name__.partition('.')[0]
    build = 'spconv-triton' if package == 'spconv_triton' else _build_of_wheel()
    installed = sorted(
        f'{item.name} {item.version}' for item in importlib.metadata.distributions() if item.name.startswith('spconv')
    )
    return dict(
        build=build,
        installed=', '.join(installed),
        file=spconv.pytorch.__file__,
        tf32_by_default=bool(constants.SPCONV_ALLOW_TF32),
    )


def _build_of_wheel() -> str:
    from spconv import cppconstants

    return 'wheel for the CPU' if cppconstants.CPU_ONLY_BUILD else 'wheel for CUDA'


def voxels(count: int) -> Grid:
    """Voxels of two scans of so many points, of 0.2 m."""
    coords = voxelize([lidar_points(count, seed=seed) for seed in (0, 1)], (0.2, 0.2, 0.2), 'cartesian').coords
    return Grid(coords, (coords[:, 1:].amax(0) + 1).tolist())


def compare_layer(layer: Layer, mode: str, grid: Grid, device: str) -> dict:
    """Output and both gradients of a layer on the device, against the sum in float64.

    Returns:
        Largest relative difference of each, `dtype` of the output, and `voxels`, their number.

    Raises:
        Differs: The output has other voxels, or a difference exceeds the limit of the mode.
    """
    operands = _operands(layer, grid)
    allowed, dtype = MODES[mode]
    with tf32(allowed):
        ours, coords = _on_device(layer, grid, operands, device, dtype)
    if not torch.equal(coords, operands.target):
        raise Differs(f'{len(coords)} voxels in the output, expected {len(operands.target)} or others', {})
    differences = {name: relative_difference(a, b) for name, a, b in zip(PARTS, ours, _expected(layer, operands))}
    check_limits(differences, dict.fromkeys(PARTS, LIMITS[mode]))
    return dict(**differences, dtype=str(ours[0].dtype).removeprefix('torch.'), voxels=len(coords))


class Operands(NamedTuple):
    """What a layer computes with; rows are sorted by voxel, which a device may order otherwise.

    Attributes:
        source: Int32 (M, 4), voxels of the input.
        target: Int32 (N, 4), those of the output.
        pairs: Of every offset of the kernel its number, rows of the source and rows of the target.
        features: Float32 (M, C_in).
        conv: The layer, on the CPU.
        direction: Float32 (N, C_out), the gradient of the output.
    """

    source: Tensor
    target: Tensor
    pairs: list[tuple[int, Tensor, Tensor]]
    features: Tensor
    conv: nn.Module
    direction: Tensor


def _operands(layer: Layer, grid: Grid) -> Operands:
    torch.manual_seed(0)
    fine, pairs = grid.coords, None
    coarse = fine if layer.type == 'SubMConv3d' else _coarse(layer, grid)
    pairs = _pairs(layer, fine, coarse, grid.shape)
    source, target = fine, coarse
    if layer.type == 'SparseInverseConv3d':
        source, target, pairs = coarse, fine, [(k, outer, inner) for k, inner, outer in pairs]
    features, direction = torch.randn(len(source), layer.channels[0]), torch.randn(len(target), layer.channels[1])
    return Operands(source, target, pairs, features, _conv(layer), direction)


def _conv(layer: Layer) -> nn.Module:
    import spconv.pytorch as spconv

    geometry = dict(stride=layer.stride, padding=layer.padding)
    if layer.type == 'SparseInverseConv3d':
        return spconv.SparseInverseConv3d(*layer.channels, layer.kernel, bias=False, indice_key='down')
    if layer.type == 'SubMConv3d':
        geometry.pop('stride')
    return getattr(spconv, layer.type)(*layer.channels, layer.kernel, bias=False, **geometry)


def _on_device(
    layer: Layer, grid: Grid, operands: Operands, device: str, dtype: torch.dtype | None
) -> tuple[list[Tensor], Tensor]:
    """Output and gradients of features and weight, and the voxels of the output, sorted."""
    import spconv.pytorch as spconv

    conv = copy.deepcopy(operands.conv).to(device)
    features = operands.features.to(device).requires_grad_()
    start = spconv.SparseConvTensor(
        grid.coords.new_zeros(len(grid.coords), 1).float().to(device), grid.coords.to(device), grid.shape, 2
    )
    if layer.type == 'SparseInverseConv3d':
        down = spconv.SparseConv3d(1, 1, layer.kernel, layer.stride, layer.padding, bias=False, indice_key='down')
        start = down.to(device)(start)
    place = _keys(start.indices, grid.shape).argsort().argsort()
    if len(place) != len(features):
        raise Differs(f'{len(place)} voxels after the strided layer, expected {len(features)}', {})
    with torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not None):
        out = conv(start.replace_feature(features[place]))
    order = _keys(out.indices, grid.shape).argsort()
    if len(order) != len(operands.direction):
        raise Differs(f'{len(order)} voxels in the output, expected {len(operands.direction)}', {})
    result = out.features[order]
    loss = (result.float() * operands.direction.to(device)).sum()
    return [result, *torch.autograd.grad(loss, (features, conv.weight))], out.indices[order].cpu()


def _expected(layer: Layer, operands: Operands) -> list[Tensor]:
    """Output and gradients in float64: each offset of the kernel is a matrix product of its own."""
    features = operands.features.double().requires_grad_()
    weight = operands.conv.weight.detach().double().requires_grad_()
    if layer.kernel == ONE:
        # spconv reads the weight of such layers as it lies in memory
        out = features @ weight.view(layer.channels)
    else:
        offsets = weight.reshape(layer.channels[1], -1, layer.channels[0])
        out = features.new_zeros(len(operands.target), layer.channels[1])
        for k, source, target in operands.pairs:
            out = out.index_add(0, target, features[source] @ offsets[:, k].T)
    gradients = torch.autograd.grad((out * operands.direction.double()).sum(), (features, weight))
    return [out.detach(), *gradients]


def _coarse(layer: Layer, grid: Grid) -> Tensor:
    """Int32 (N, 4), sorted voxels that a strided layer gives: those with a voxel of the input under their kernel."""
    stride, padding, kernel = (torch.tensor(values) for values in (layer.stride, layer.padding, layer.kernel))
    limits = (torch.tensor(grid.shape) + 2 * padding - kernel) // stride + 1
    found = []
    for offset in _offsets(layer):
        place = grid.coords[:, 1:] + padding - offset
        target = place // stride
        reached = (place % stride == 0).all(1) & (target >= 0).all(1) & (target < limits).all(1)
        found.append(torch.cat((grid.coords[:, :1], target), 1)[reached])
    return torch.cat(found).unique(dim=0).int()


def _pairs(layer: Layer, fine: Tensor, coarse: Tensor, shape: Sequence[int]) -> list[tuple[int, Tensor, Tensor]]:
    """Of every offset of the kernel its number, rows of `fine` (sorted), and rows of `coarse` that read them."""
    keys, limits, pairs = _keys(fine, shape), torch.tensor(shape), []
    for k, offset in enumerate(_offsets(layer)):
        place = coarse[:, 1:] * torch.tensor(layer.stride) - torch.tensor(layer.padding) + offset
        inside = ((place >= 0) & (place < limits)).all(1)
        wanted = _keys(torch.cat((coarse[:, :1], place), 1), shape)
        row = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        target = (inside & (keys[row] == wanted)).nonzero()[:, 0]
        pairs.append((k, row[target], target))
    return pairs


def _offsets(layer: Layer) -> list[Tensor]:
    return [torch.tensor(offset) for offset in itertools.product(*map(range, layer.kernel))]


def _keys(coords: Tensor, shape: Sequence[int]) -> Tensor:
    """Int64 numbers that order voxels by scan and indices."""
    scan, x, y, z = coords.long().unbind(1)
    return ((scan * shape[0] + x) * shape[1] + y) * shape[2] + z
