"""Student on tokens: WaffleIron."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peridot.models.students.features import PointFeatures, first_of_units
from peridot.models.students.tokens import tokenize
from peridot.registry import MODELS


@dataclass
class TokenFeatures(PointFeatures):
    """Features of tokens, read at the points.

    Attributes:
        features: Float32 (M, C), one row per token.
        inverse: Int64 (N,), token of every point of the concatenated clouds; -1 outside the range in training.
        inside: Bool (N,), True within the range.
    """

    features: Tensor
    inverse: Tensor
    inside: Tensor

    def at(self, points: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """See `PointFeatures`."""
        features = self.features.index_select(0, self.inverse[points])
        return embed(features) if embed else features

    def units(self) -> Tensor:
        """See `PointFeatures`."""
        return first_of_units(self.inverse, len(self.features))


@MODELS.register_module()
class WaffleIronStudent(nn.Module):
    """Gives every lidar point the feature of a token of WaffleIron.

    In training every point within the range is a token: the pipeline has chosen them (`peridot.VoxelDownsample`). In
    evaluation the first points of small voxels are tokens, and every point reads its nearest one.
    Its only child with weights is `backbone`.

    Args:
        backbone: Config of the network, `peridot.WaffleIron`.
        voxel_size: Size in meters of the voxels of evaluation, the same as in the pipeline.
        feature_columns: Columns of the points that become token features; by default those that
            `peridot.AppendPointFeatures` appends to x, y, z.
    """

    def __init__(
        self, backbone: dict, voxel_size: float = 0.1, feature_columns: Sequence[int] = (3, 4, 5, 6, 7)
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.out_channels = self.backbone.channels
        self.voxel_size = voxel_size
        self.feature_columns = list(feature_columns)

    def forward(self, points: list[Tensor]) -> TokenFeatures:
        """Features of a batch of clouds, each (N_i, >=3), x, y, z in meters first."""
        tokens = tokenize(points, self.backbone.point_cloud_range, None if self.training else self.voxel_size)
        inputs = torch.cat(points)[tokens.first][:, self.feature_columns]
        return TokenFeatures(self.backbone(inputs, tokens.coords), tokens.inverse, tokens.inside)

    def input_settings(self) -> dict:
        """Settings that a downstream network must have in common with this one to use its weights.

        The range is for information: it may differ as long as cells have one size.
        """
        return dict(
            voxel_size=self.voxel_size,
            feature_columns=self.feature_columns,
            cell_size=self.backbone.cell_size,
            num_neighbors=self.backbone.num_neighbors,
            activation=self.backbone.activation,
            network_range=self.backbone.point_cloud_range,
        )
