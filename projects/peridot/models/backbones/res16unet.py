"""Res16UNet: the sparse U-Net that SLidR, PPKT, OLIVINE and most methods after them are published on.

Choy et al., "4D Spatio-Temporal ConvNets: Minkowski Convolutional Neural Networks", CVPR 2019. Unlike mmdet3d's
`MinkUNetBackbone` it has one convolution in its stem and normalizes with other momenta.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from spconv.pytorch import (
    SparseConv3d,
    SparseConvTensor,
    SparseInverseConv3d,
    SparseModule,
    SparseSequential,
    SubMConv3d,
)
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.registry import MODELS
from peridot.voxel_grid import padded_shape

STAGES = 4


@MODELS.register_module()
class Res16UNet(BaseModule):
    """A U-Net of residual blocks with four strides of 2 and as many up-convolutions.

    Module names are those of the MinkowskiEngine code; `tools/convert_checkpoint.py` reads and writes its files. Voxels
    are grouped by floor(c / stride) of the given coordinates: clouds are shifted by multiples of 16 only, as
    `peridot.SegPreprocessor` and `peridot.SparseUNetStudent` do.

    Args:
        in_channels: Channels of the voxel features.
        stem_channels: Channels of the stem, `INIT_DIM`.
        channels: Channels of `block1` to `block8`, `PLANES`; by default those of Res16UNet34C.
        layers: Residual blocks in each of them, `LAYERS`: eight ones for the depth 14, eight twos for 18, the default
            for 34.
        stem_kernel: Kernel size of the stem, odd.
        norm_momentum: Momentum of batch normalization, as released 0.05 in pre-training and 0.02 in fine-tuning. The
            two normalizations within a block always have 0.1, as in the released code.

    Raises:
        ConfigError: `channels` or `layers` are not eight numbers, or `stem_kernel` is even.
    """

    def __init__(
        self,
        in_channels: int = 1,
        stem_channels: int = 32,
        channels: Sequence[int] = (32, 64, 128, 256, 256, 128, 96, 96),
        layers: Sequence[int] = (2, 3, 4, 6, 2, 2, 2, 2),
        stem_kernel: int = 3,
        norm_momentum: float = 0.05,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(channels) != 2 * STAGES or len(layers) != 2 * STAGES:
            raise ConfigError(
                f'Res16UNet: channels={list(channels)}, layers={list(layers)}: give eight numbers, one for each of '
                'block1 to block8'
            )
        if stem_kernel % 2 == 0:
            raise ConfigError(f'Res16UNet: stem_kernel={stem_kernel}: take an odd size (3 or 5 in the released code)')
        self.out_channels = channels[-1]
        norm = partial(nn.BatchNorm1d, momentum=norm_momentum)

        key = _pairs(1, stem_kernel)
        self.conv0p1s1 = SubMConv3d(in_channels, stem_channels, stem_kernel, bias=False, indice_key=key)
        self.bn0 = norm(stem_channels)
        width, skips = stem_channels, [stem_channels, *channels[: STAGES - 1]]
        for i, (out, number) in enumerate(zip(channels[:STAGES], layers)):
            down = SparseConv3d(width, width, 2, 2, bias=False, indice_key=f'stride{2 ** (i + 1)}')
            self.add_module(f'conv{i + 1}p{2**i}s2', down)
            self.add_module(f'bn{i + 1}', norm(width))
            self.add_module(f'block{i + 1}', _stage(width, out, number, 2 ** (i + 1), norm))
            width = out
        for i, (out, number) in enumerate(zip(channels[STAGES:], layers[STAGES:]), STAGES):
            stride = 2 ** (2 * STAGES - i)
            up = SparseInverseConv3d(width, out, 2, bias=False, indice_key=f'stride{stride}')
            self.add_module(f'convtr{i}p{stride}s2', up)
            self.add_module(f'bntr{i}', norm(out))
            self.add_module(f'block{i + 1}', _stage(out + skips.pop(), out, number, stride // 2, norm))
            width = out
        for module in self.modules():
            if isinstance(module, (SubMConv3d, SparseConv3d, SparseInverseConv3d)):
                init_kernel(module)

    def stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are the network's stages, by `encoder0` to `encoder3` and `decoder0` to `decoder3`."""
        blocks = [getattr(self, f'block{i + 1}') for i in range(2 * STAGES)]
        names = [f'{part}{i}' for part in ('encoder', 'decoder') for i in range(STAGES)]
        return dict(zip(names, blocks))

    def forward(self, voxel_features: Tensor, coors: Tensor) -> Tensor:
        """Features (M, C) of voxels.

        Args:
            voxel_features: Float (M, in_channels).
            coors: Int32 (M, 4), scan index, then three non-negative voxel indices.
        """
        scans, *shape = (coors.amax(0) + 1).tolist()
        x = SparseConvTensor(voxel_features, coors, padded_shape(shape, 2**STAGES), scans)
        x = normalized(self.conv0p1s1(x), self.bn0)
        skips = []
        for i in range(STAGES):
            skips.append(x)
            x = normalized(getattr(self, f'conv{i + 1}p{2**i}s2')(x), getattr(self, f'bn{i + 1}'))
            x = getattr(self, f'block{i + 1}')(x)
        for i in range(STAGES, 2 * STAGES):
            x = normalized(getattr(self, f'convtr{i}p{2 ** (2 * STAGES - i)}s2')(x), getattr(self, f'bntr{i}'))
            # up-sampled features first: the order of the released weights
            x = x.replace_feature(torch.cat((x.features, skips.pop().features), dim=1))
            x = getattr(self, f'block{i + 1}')(x)
        return x.features


class ResidualBlock(SparseModule):
    """Two convolutions of size 3 and a shortcut, which is a linear layer where the number of channels changes.

    Args:
        in_channels: Channels before.
        channels: Channels after.
        key: Name under which spconv keeps the pairs of voxels of this stride.
        norm: Makes the normalization of the shortcut from a number of channels.
    """

    def __init__(self, in_channels: int, channels: int, key: str, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = SubMConv3d(in_channels, channels, 3, bias=False, indice_key=key)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = SubMConv3d(channels, channels, 3, bias=False, indice_key=key)
        self.norm2 = nn.BatchNorm1d(channels)
        self.downsample = None
        if in_channels != channels:
            self.downsample = SparseSequential(SubMConv3d(in_channels, channels, 1, bias=False), norm(channels))

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        """Features of the same voxels."""
        shortcut = self.downsample(x) if self.downsample is not None else x
        x = self.conv2(normalized(self.conv1(x), self.norm1))
        return x.replace_feature(torch.relu(self.norm2(x.features) + shortcut.features))


def _stage(
    in_channels: int, channels: int, number: int, stride: int, norm: Callable[[int], nn.Module]
) -> SparseSequential:
    """Residual blocks at one stride."""
    widths = [in_channels, *[channels] * number]
    return SparseSequential(*(ResidualBlock(*pair, _pairs(stride, 3), norm) for pair in pairwise(widths)))


def _pairs(stride: int, kernel: int) -> str:
    """Name of the pairs of voxels, which all layers of a stride and kernel size share."""
    return f'stride{stride}_kernel{kernel}'


def normalized(x: SparseConvTensor, norm: nn.Module) -> SparseConvTensor:
    """Apply normalization and ReLU to the features of a sparse tensor."""
    return x.replace_feature(torch.relu(norm(x.features)))


@torch.no_grad()
def init_kernel(layer: nn.Module) -> None:
    """Fill a kernel as MinkowskiEngine does: uniform within 1 / sqrt(C K^3).

    C are the input channels, or the output channels of up-convolutions.

    Args:
        layer: A convolution of spconv without bias.
    """
    channels = layer.out_channels if isinstance(layer, SparseInverseConv3d) else layer.in_channels
    bound = (channels * layer.weight[0, ..., 0].numel()) ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound)
