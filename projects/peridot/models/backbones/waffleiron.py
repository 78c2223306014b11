"""WaffleIron: points are tokens, mixed over 2D cells and over channels.

Puy et al., "Using a Waffle Iron for Automotive Point Cloud Semantic Segmentation", ICCV 2023. With layer normalization
it is the network of ScaLR, Puy et al., "Three Pillars Improving Vision Foundation Model Distillation for Lidar", CVPR
2024; with GELU, too, that of ScaLR+.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers import drop_path
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peridot.errors import ConfigError, DataError
from peridot.models.compiling import compile_calls
from peridot.models.functional.distributed import reduce_sum
from peridot.models.functional.neighbors import nearest_others
from peridot.models.functional.planes import PLANE_AXES, Plane, cell_means, project_to_planes, read_cells
from peridot.models.functional.strongest_response import strongest_response
from peridot.registry import MODELS

NORMS = {'batchnorm': nn.BatchNorm1d, 'layernorm': nn.LayerNorm}
ACTIVATIONS = {'relu': nn.ReLU, 'gelu': nn.GELU}


@MODELS.register_module()
class WaffleIron(BaseModule):
    """A feature for every token, called as mmdet3d's MinkUNet.

    Tokens of all scans are packed, one scan after the other: no padding enters a mean or a batch
    statistic.

    Args:
        in_channels: Number of input features; intensity, x, y, z and range as published.
        channels: Width C.
        depth: Number of layers L; layer d mixes over plane d mod 3 of (x, y), (x, z), (y, z).
        norm: 'layernorm' (ScaLR) or 'batchnorm' (WaffleIron) before each mix; the embedding's is 'batchnorm'.
        activation: 'relu', or 'gelu' (ScaLR+), in both mixes.
        drop_path: Probability that a scan skips a mix in training, the same in all layers.
        point_cloud_range: x, y, z bounds of the planes in meters, lower ones first.
        grid_size: Cells along x, y and z. Weights fit any range and grid with the same size of cells.
        num_neighbors: Neighbors K of the embedding.
        checkpointing: Keep only the tokens between mixes for the backward pass, and recompute the rest.
        reference_padding: Count the padding of the released code in batch statistics, as published: scans of a batch
            are filled up with zeros to the longest in training.
        compile: Let `torch.compile` run the mixes over channels, see `peridot.models.compiling`.
    """

    def __init__(
        self,
        in_channels: int = 5,
        channels: int = 768,
        depth: int = 48,
        norm: str = 'layernorm',
        activation: str = 'relu',
        drop_path: float = 0.0,
        point_cloud_range: Sequence[float] = (-64, -64, -8, 64, 64, 8),
        grid_size: Sequence[int] = (256, 256, 32),
        num_neighbors: int = 16,
        checkpointing: bool = False,
        reference_padding: bool = False,
        compile: bool | str = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for key, value, known in (('norm', norm, NORMS), ('activation', activation, ACTIVATIONS)):
            if value not in known:
                raise ConfigError(f'model.backbone.{key}={value!r}: choose one of {sorted(known)}')
        if checkpointing and norm == 'batchnorm':
            raise ConfigError(
                'model.backbone.checkpointing=True computes every mix twice, and batch normalization would count a '
                "batch twice: set norm='layernorm' or checkpointing=False"
            )
        self.channels = channels
        self.activation = activation
        self.drop_path = drop_path
        self.point_cloud_range = list(point_cloud_range)
        self.grid_size = list(grid_size)
        self.num_neighbors = num_neighbors
        self.checkpointing = checkpointing
        self.reference_padding = reference_padding
        self.embed = Embedding(in_channels, channels)
        self.spatial_mix = nn.ModuleList(SpatialMix(channels, norm, activation) for _ in range(depth))
        self.channel_mix = nn.ModuleList(ChannelMix(channels, norm, activation) for _ in range(depth))
        # planes have another size in every batch, for which inductor cannot order the memory of convolutions
        compile_calls(self.channel_mix, compile, 'model.backbone.compile')

    @property
    def cell_size(self) -> list[float]:
        """Size of a cell along x, y and z in meters."""
        low, high = self.point_cloud_range[:3], self.point_cloud_range[3:]
        return [(upper - lower) / cells for lower, upper, cells in zip(low, high, self.grid_size)]

    def forward(self, features: Tensor, coords: Tensor) -> Tensor:
        """Features of the tokens of a batch.

        Args:
            features: Float (M, in_channels), without gradient.
            coords: Float (M, 4), scan index, x, y, z in meters; sorted by scan.

        Returns:
            Float32 (M, channels).

        Raises:
            DataError: A scan has too few tokens for the neighbors of a token.
        """
        coords = coords.float()
        scan = coords[:, 0].long()
        sizes = torch.bincount(scan).tolist()
        neighbors = packed_neighbors(coords, self.num_neighbors, sizes)
        padded = self.training and self.reference_padding
        # padding lies in the first cell of the whole grid
        planes = project_to_planes(coords, len(sizes), self.point_cloud_range, self.grid_size, whole=padded)
        if padded:
            return self.encode(*with_padding(features, scan, neighbors, planes))[: len(features)]
        return self.encode(features, scan, neighbors, planes)

    def encode(self, features: Tensor, scan: Tensor, neighbors: Tensor, planes: list[Plane]) -> Tensor:
        """Features (M, C) of tokens with known scans (M,), neighbors (M, K) and cells."""
        # the residual stream stays float32 under autocast: it sums 2 L terms
        tokens = self.embed(features, neighbors).float()
        for d, (spatial_mix, channel_mix) in enumerate(zip(self.spatial_mix, self.channel_mix)):
            plane = planes[d % len(PLANE_AXES)]
            tokens = self._add(tokens, scan, plane.shape[0], spatial_mix, plane)
            tokens = self._add(tokens, scan, plane.shape[0], channel_mix)
        return tokens

    def _add(self, tokens: Tensor, scan: Tensor, scans: int, mix: nn.Module, *args) -> Tensor:
        """t + DropPath(mix(t)), dropped by scan."""
        keep = drop_path(tokens.new_ones(scans, 1), self.drop_path, self.training)
        if self.checkpointing and torch.is_grad_enabled():
            change = checkpoint(mix, tokens, *args, use_reentrant=False)
        else:
            change = mix(tokens, *args)
        return tokens + (change * keep[scan] if self.drop_path and self.training else change)


class Scale(nn.Module):
    """A factor for each channel, drawn from U(-1, 1) as the published depth-wise convolution of size 1 is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(M, C) to float32 (M, C)."""
        return x.float() * self.weight


class SpatialMix(nn.Module):
    """Scale(Inflate(FFN(Flatten(Norm(t))))): two depth-wise convolutions over the means of cells."""

    def __init__(self, channels: int, norm: str, activation: str) -> None:
        super().__init__()
        self.norm = NORMS[norm](channels)
        self.ffn = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )
        self.scale = Scale(channels)

    def forward(self, tokens: Tensor, plane: Plane) -> Tensor:
        """(M, C) to (M, C)."""
        return self.scale(read_cells(self.ffn(cell_means(self.norm(tokens), plane)), plane))


class ChannelMix(nn.Module):
    """Scale(MLP(Norm(t))) with a hidden layer of C channels."""

    def __init__(self, channels: int, norm: str, activation: str) -> None:
        super().__init__()
        self.norm = NORMS[norm](channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), ACTIVATIONS[activation](), nn.Linear(channels, channels)
        )
        self.scale = Scale(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(M, C) to (M, C)."""
        return self.scale(self.mlp(self.norm(tokens)))


class Embedding(nn.Module):
    """A token from a point and the differences to its neighbors.

    With x' = norm(x): final([conv1(x'), max_k conv2(x'_k - x')]), where conv2 is batch normalization, linear map,
    batch normalization, ReLU, linear map. All before the ReLU is affine in the difference x_k - x of the input, so
    both batch normalizations follow from mean and covariance of that difference, and the C x K numbers of a token need
    not be kept, see `strongest_response`.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.conv1 = nn.Linear(in_channels, channels)
        self.conv2 = nn.Sequential(
            nn.BatchNorm1d(in_channels),
            nn.Linear(in_channels, channels, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Linear(channels, channels, bias=False),
        )
        self.final = nn.Linear(2 * channels, channels)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Tokens (M, C) of features (M, in_channels) and int64 neighbors (M, K)."""
        # 16 bits would be too few for moments and for coordinates
        with torch.autocast(features.device.type, enabled=False):
            features = features.detach().float()
            scale, shift = self._norm_of_features(features)
            weight, bias = self._map_of_differences(features, neighbors, scale)
            point = self.conv1(features * scale + shift)
        response = strongest_response(features, neighbors, weight, bias, self.conv2[-1].weight)
        return self.final(torch.cat((point, response), dim=1))

    def _norm_of_features(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if not self.norm.training:
            return batch_norm_map(self.norm)
        count, mean, covariance = moments([features], _is_synchronized(self.norm))
        return batch_norm_map(self.norm, count, mean, covariance.diagonal())

    def _map_of_differences(self, features: Tensor, neighbors: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, in_channels) and bias (C,) of the affine map of a difference before the ReLU."""
        first, linear, second = self.conv2[:3]
        # both normalizations in one mode: fine-tuning freezes the embedding as a whole or not at all
        if not first.training:
            factor, offset = batch_norm_map(first)
            outer = batch_norm_map(second)
        else:
            count, mean, covariance = moments(_differences(features, neighbors), _is_synchronized(first))
            mean, covariance = scale * mean, scale[:, None] * covariance * scale
            factor, offset = batch_norm_map(first, count, mean, covariance.diagonal())
            inner = linear.weight * factor
            variance = ((inner @ covariance) * inner).sum(1)
            outer = batch_norm_map(second, count, linear.weight @ (factor * mean + offset), variance)
        weight = outer[0][:, None] * linear.weight * (factor * scale)
        return weight, outer[0] * (linear.weight @ offset) + outer[1]


def _differences(features: Tensor, neighbors: Tensor) -> list[Tensor]:
    """Differences (M, in_channels) of all tokens to their first, second, ... neighbor."""
    return [features[column] - features for column in neighbors.T]


@torch.no_grad()
def moments(parts: list[Tensor], synchronized: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Number of rows, mean (D,) and covariance (D, D, divided by the number of rows) of rows in parts (M, D).

    Args:
        parts: Float32 rows, without gradient.
        synchronized: Take the rows of all processes.
    """
    over_processes = reduce_sum if synchronized else lambda value: value
    count = over_processes(torch.tensor(float(sum(map(len, parts))), device=parts[0].device))
    mean = over_processes(sum(part.sum(0) for part in parts)) / count
    centered = (part - mean for part in parts)
    return count, mean, over_processes(sum(part.T @ part for part in centered)) / count


def batch_norm_map(
    norm: nn.BatchNorm1d, count: Tensor | None = None, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scale and shift (D,) that a batch normalization applies.

    Args:
        norm: The module; with statistics of a batch its running ones are updated.
        count: Number of rows of the batch; without it the running statistics are used.
        mean: Mean (D,) of the rows.
        variance: Their variance (D,), divided by their number.
    """
    if count is None:
        mean, variance = norm.running_mean, norm.running_var
    else:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale, norm.bias - mean * scale


def _is_synchronized(norm: nn.Module) -> bool:
    return isinstance(norm, nn.SyncBatchNorm)


def packed_neighbors(coords: Tensor, k: int, sizes: list[int] | None = None) -> Tensor:
    """Nearest other tokens of the same scan.

    Args:
        coords: Float (M, 4), scan index, x, y, z in meters; sorted by scan.
        k: Number of neighbors.
        sizes: Tokens of every scan, if they are known.

    Returns:
        Int64 (M, k) rows of `coords`.

    Raises:
        DataError: A scan has too few tokens.
    """
    sizes = sizes or torch.bincount(coords[:, 0].long()).tolist()
    for scan, size in enumerate(sizes):
        if size <= k:
            raise DataError(
                f'scan {scan} of the batch has {size} points within the range of the network, which needs {k + 1} '
                f'or more ({k} neighbors): leave it out, or check the range filters of the pipeline and '
                'point_cloud_range'
            )
    starts = accumulate(sizes, initial=0)
    parts = coords[:, 1:].detach().contiguous().split(sizes)
    return torch.cat([nearest_others(xyz, k) + start for xyz, start in zip(parts, starts)])


def with_padding(
    features: Tensor, scan: Tensor, neighbors: Tensor, planes: list[Plane]
) -> tuple[Tensor, Tensor, Tensor, list[Plane]]:
    """The batch of the released code: zeros after the tokens fill every scan up to the longest.

    Padding has the last padding of its scan as its neighbor and no weight in the means of cells, but it enters batch
    statistics.
    """
    sizes = torch.bincount(scan)
    absent = sizes.max() - sizes
    rows = torch.arange(len(sizes), device=scan.device).repeat_interleave(absent)
    last = (len(features) + absent.cumsum(0) - 1)[rows, None].expand(-1, neighbors.shape[1])
    planes = [
        Plane(torch.cat((p.cell, rows * p.shape[1] * p.shape[2])), F.pad(p.weight, (0, len(rows))), p.shape)
        for p in planes
    ]
    features = F.pad(features, (0, 0, 0, len(rows)))
    return features, torch.cat((scan, rows)), torch.cat((neighbors, last)), planes
