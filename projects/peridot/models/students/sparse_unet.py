"""Student on voxels: a sparse U-Net."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from peridot.errors import ConfigError
from peridot.models.students.features import PointFeatures, first_of_units
from peridot.models.students.voxelize import (
    STRIDE,
    Voxels,
    running_statistics,
    voxelize,
)
from peridot.registry import MODELS


@dataclass
class VoxelFeatures(PointFeatures):
    """Features that are constant within a voxel.

    Attributes:
        features: Float (M, C), one row per voxel.
        inverse: Int64 (N,), voxel of every point of the concatenated clouds.
    """

    features: Tensor
    inverse: Tensor

    def at(self, points: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """See `PointFeatures`."""
        features = self.features[self.inverse[points]]
        return embed(features) if embed else features

    def units(self) -> Tensor:
        """See `PointFeatures`."""
        return first_of_units(self.inverse, len(self.features))


@MODELS.register_module()
class SparseUNetStudent(nn.Module):
    """Gives every lidar point the feature of its voxel in a sparse U-Net.

    Its only child with weights is `backbone`, with mmdet3d's own parameter names.

    Args:
        backbone: Config of a backbone called as `backbone(voxel_features, coords)` that returns (M, C),
            `peridot.Res16UNet` or mmdet3d's `MinkUNetBackbone` with `sparseconv_backend='spconv'`.
        voxel_size: Voxel size along the three coordinates (meters; degrees for azimuth).
        coordinates: 'cylindrical' as published for SLidR and OLIVINE, or 'cartesian'.
        feature_columns: Columns of the points that become voxel features, taken from the first point of
            each voxel; their number is the backbone's `in_channels`.
        rounding: See `voxelize`.
        origin: See `voxelize`.

    Raises:
        ConfigError: The backbone has another number of stages than four.
    """

    def __init__(
        self,
        backbone: dict,
        voxel_size: Sequence[float] = (0.1, 1.0, 0.1),
        coordinates: str = 'cylindrical',
        feature_columns: Sequence[int] = (3,),
        rounding: str = 'floor',
        origin: str = 'grid',
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        stride = 2 ** getattr(self.backbone, 'num_stages', 4)
        if stride != STRIDE:
            raise ConfigError(
                f'SparseUNetStudent: the backbone has a total stride of {stride}, but voxels are shifted by multiples '
                f'of {STRIDE}: set num_stages=4'
            )
        # mmdet3d's MinkUNetBackbone keeps no such number; 96 is its default
        self.out_channels = getattr(self.backbone, 'out_channels', backbone.get('decoder_channels', [96])[-1])
        self.voxel_size = tuple(voxel_size)
        self.coordinates = coordinates
        self.feature_columns = list(feature_columns)
        self.rounding = rounding
        self.origin = origin

    def forward(self, points: list[Tensor], layers: Sequence[str] = ()) -> VoxelFeatures:
        """Features of a batch of clouds.

        Args:
            points: Each (N_i, >=4) x, y, z in meters, intensity, ...
            layers: Stages of encoder and decoder that the features have as `layers`, too: `encoder0`, ...,
                `decoder0`, ... A stage of stride s gives all points of its larger voxels the same feature.
        """
        voxels = self._voxelize(points)
        if not layers:
            return self._encode(points, voxels)
        stages, outputs = _stages(self.backbone), {}
        # the last one has the voxels themselves
        last = list(stages)[-1]
        hooks = [
            module.register_forward_hook(partial(_record, outputs, name))
            for name, module in stages.items()
            if name in (*layers, last)
        ]
        try:
            features = self._encode(points, voxels)
        finally:
            for hook in hooks:
                hook.remove()
        shape = outputs[last].spatial_shape[0]
        features.layers = {
            name: VoxelFeatures(stage.features, _coarse(stage, round(shape / stage.spatial_shape[0]), voxels))
            for name, stage in outputs.items()
            if name in layers
        }
        return features

    def _voxelize(self, points: list[Tensor]) -> Voxels:
        return voxelize(points, self.voxel_size, self.coordinates, self.rounding, self.origin)

    @torch.no_grad()
    def layers(self, points: list[Tensor]) -> dict[str, VoxelFeatures]:
        """Features of all stages of encoder and decoder, without gradient, to see what the network knows where.

        Args:
            points: As for `forward`.

        Returns:
            By name, see `forward`; the last are the student's features.
        """
        return dict(self(points, list(_stages(self.backbone))).layers)

    @property
    def layer_channels(self) -> dict[str, int]:
        """Channels of the features of every stage."""
        return {name: _width(stage) for name, stage in _stages(self.backbone).items()}

    def _encode(self, points: list[Tensor], voxels: Voxels) -> VoxelFeatures:
        inputs = torch.cat(points)[:, self.feature_columns][voxels.first]
        with running_statistics(self.backbone, when=self.training and voxels.collapsed):
            features = self.backbone(inputs, voxels.coords)
        return VoxelFeatures(features, voxels.inverse)

    def input_settings(self) -> dict:
        """Settings that a downstream network must have in common with this one to use its weights."""
        return dict(
            voxel_size=list(self.voxel_size),
            coordinates=self.coordinates,
            feature_columns=self.feature_columns,
            rounding=self.rounding,
            origin=self.origin,
        )


def _stages(backbone: nn.Module) -> dict[str, nn.Module]:
    """Modules whose outputs are the stages of `peridot.Res16UNet` or of mmdet3d's `MinkUNetBackbone`."""
    if callable(getattr(type(backbone), 'stages', None)):
        return backbone.stages()
    stages = {f'encoder{i}': stage for i, stage in enumerate(backbone.encoder)}
    return stages | {f'decoder{i}': stage[-1] for i, stage in enumerate(backbone.decoder)}


def _width(stage: nn.Module) -> int:
    """Channels of a stage, those of its last normalization."""
    return [module.num_features for module in stage.modules() if isinstance(module, _BatchNorm)][-1]


def _record(outputs: dict, name: str, layer: nn.Module, inputs: tuple, output) -> None:
    outputs[name] = output


def _coarse(stage, stride: int, voxels: Voxels) -> Tensor:
    """Int64 (N,), row of a strided sparse tensor for every point."""
    coords = torch.cat((voxels.coords[:, :1], voxels.coords[:, 1:] // stride), dim=1)
    own, order = _keys(stage.indices, stage.spatial_shape).sort()
    rows = order[torch.searchsorted(own, _keys(coords, stage.spatial_shape))]
    return rows[voxels.inverse]


def _keys(coords: Tensor, shape: Sequence[int]) -> Tensor:
    scan, x, y, z = coords.long().unbind(1)
    return ((scan * shape[0] + x) * shape[1] + y) * shape[2] + z
