"""Voxels and tokens of a segmentor, the same as in pre-training."""

from collections.abc import Sequence

import torch
from mmdet3d.models import Det3DDataPreprocessor
from torch import Tensor

from peridot.models.students import Tokens, Voxels, tokenize, voxelize
from peridot.registry import MODELS


@MODELS.register_module()
class SegPreprocessor(Det3DDataPreprocessor):
    """Voxelizes the scans of mmdet3d's `MinkUNet` as `peridot.SparseUNetStudent` does, cylindrically too.

    Every voxel takes features and label of its first point; `point2voxel_map` maps all points of the scan to their
    voxel.

    Args:
        voxel_size: Voxel size along the three coordinates (meters; degrees for azimuth).
        coordinates: 'cylindrical' or 'cartesian'.
        feature_columns: Columns of the points that become voxel features.
        feature_offset: Added to the features.
        rounding: See `voxelize`.
        origin: See `voxelize`.
        **kwargs: Those of mmdet3d's `Det3DDataPreprocessor`.
    """

    def __init__(
        self,
        voxel_size: Sequence[float],
        coordinates: str = 'cartesian',
        feature_columns: Sequence[int] = (0, 1, 2, 3),
        feature_offset: float = 0.0,
        rounding: str = 'floor',
        origin: str = 'grid',
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.voxel = True
        self.voxel_size = tuple(voxel_size)
        self.coordinates = coordinates
        self.feature_columns = list(feature_columns)
        self.feature_offset = feature_offset
        self.rounding = rounding
        self.origin = origin

    def group(self, points: list[Tensor]) -> Voxels | Tokens:
        """Voxels or tokens of the scans."""
        return voxelize(points, self.voxel_size, self.coordinates, self.rounding, self.origin)

    @torch.no_grad()
    def voxelize(self, points: list[Tensor], data_samples: list) -> dict[str, Tensor]:
        """Voxel features (M, C) and int32 coordinates (M, 4), scan first.

        Each data sample gets `batch_idx` (M_i,), `point2voxel_map` int64 (N_i,) into the voxels of its scan and,
        with point labels, `gt_pts_seg.voxel_semantic_mask` (M_i,).
        """
        voxels = self.group(points)
        scan = voxels.coords[:, 0].long()
        per_scan = torch.bincount(scan, minlength=len(points)).tolist()
        first_voxel = first_point = 0
        parts = zip(data_samples, voxels.inverse.split([len(p) for p in points]), voxels.first.split(per_scan))
        for sample, inverse, first in parts:
            sample.batch_idx = scan[first_voxel : first_voxel + len(first)]
            sample.point2voxel_map = inverse - first_voxel
            labels = getattr(sample, 'gt_pts_seg', None)
            if labels is not None and 'pts_semantic_mask' in labels:
                labels.voxel_semantic_mask = labels.pts_semantic_mask[first - first_point]
            first_voxel, first_point = first_voxel + len(first), first_point + len(inverse)
        features = torch.cat(points)[:, self.feature_columns][voxels.first] + self.feature_offset
        return dict(voxels=features, coors=voxels.coords)


@MODELS.register_module()
class TokenSegPreprocessor(SegPreprocessor):
    """Chooses the tokens of mmdet3d's `MinkUNet` on a `peridot.WaffleIron` as `peridot.WaffleIronStudent` does.

    In training every point within the range is a token with its own label. In evaluation the first points of voxels
    are tokens, and every point takes the prediction of its nearest one.

    Args:
        point_cloud_range: x, y, z bounds in meters, lower ones first; those of the backbone.
        voxel_size: Size in meters of the voxels of evaluation, the same as in the training pipeline.
        feature_columns: Columns of the points that become token features.
        **kwargs: Those of mmdet3d's `Det3DDataPreprocessor`.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float],
        voxel_size: float = 0.1,
        feature_columns: Sequence[int] = (3, 4, 5, 6, 7),
        **kwargs,
    ) -> None:
        super().__init__((voxel_size,) * 3, 'cartesian', feature_columns, **kwargs)
        self.voxel_size = voxel_size
        self.point_cloud_range = list(point_cloud_range)

    def group(self, points: list[Tensor]) -> Tokens:
        """Tokens, by the mode of the segmentor."""
        return tokenize(points, self.point_cloud_range, None if self.training else self.voxel_size)
