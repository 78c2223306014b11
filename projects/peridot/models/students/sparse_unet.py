"""Student on voxels: a sparse U-Net of mmdet3d."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peridot.models.students.features import PointFeatures
from peridot.models.students.voxelize import collapses_to_one_voxel, running_statistics, voxelize
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


@MODELS.register_module()
class SparseUNetStudent(nn.Module):
    """Gives every lidar point the feature of its voxel in a sparse U-Net.

    Its only child with weights is `backbone`, with mmdet3d's own parameter names.

    Args:
        backbone: Config of a backbone called as `backbone(voxel_features, coords)` that returns (M, C),
            such as mmdet3d's `MinkUNetBackbone` with `sparseconv_backend='spconv'`.
        voxel_size: Voxel size along the three coordinates (meters; degrees for azimuth).
        coordinates: 'cylindrical' as published for SLidR and OLIVINE, or 'cartesian'.
        feature_columns: Columns of the points that become voxel features, taken from the first point of
            each voxel; their number is the backbone's `in_channels`.
    """

    def __init__(
        self,
        backbone: dict,
        voxel_size: Sequence[float] = (0.1, 1.0, 0.1),
        coordinates: str = 'cylindrical',
        feature_columns: Sequence[int] = (3,),
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        # the network keeps no such number; 96 is the default of MinkUNetBackbone
        self.out_channels = backbone.get('decoder_channels', [96])[-1]
        self.voxel_size = tuple(voxel_size)
        self.coordinates = coordinates
        self.feature_columns = list(feature_columns)

    def forward(self, points: list[Tensor]) -> VoxelFeatures:
        """Features of a batch of clouds, each (N_i, >=4) x, y, z in meters, intensity, ..."""
        voxels = voxelize(points, self.voxel_size, self.coordinates)
        inputs = torch.cat(points)[:, self.feature_columns][voxels.first]
        with running_statistics(self.backbone, when=self.training and collapses_to_one_voxel(voxels.coords)):
            features = self.backbone(inputs, voxels.coords)
        return VoxelFeatures(features, voxels.inverse)

    def input_settings(self) -> dict:
        """Settings that a downstream network must have in common with this one to use its weights."""
        return dict(
            voxel_size=list(self.voxel_size),
            coordinates=self.coordinates,
            feature_columns=self.feature_columns,
        )
