"""Student on a bird's-eye view: the trunk of an mmdet3d detector."""

import os.path as osp
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from peridot.errors import ConfigError, DataError
from peridot.models.functional import bilinear_corners, scans_of
from peridot.models.students.features import CellSupports, PointFeatures, Supports
from peridot.models.students.voxelize import collapses_to_one_voxel, running_statistics
from peridot.registry import MODELS

READ_AFTER = ('middle_encoder', 'neck')
# voxels of a scan in pre-training, as in ALSO's released code; detectors keep fewer
MAX_VOXELS = 100_000


@dataclass
class BEVFeatures(PointFeatures):
    """Features on the ground plane, read bilinearly.

    A point at x, y lies at column (x - x_min) / cell and row (y - y_min) / cell of the map: features sit at
    the lower corners of their cells, as SLidR reads them. Points beyond the outermost feature take its value
    (SLidR's released code gives them weights that cancel).

    Attributes:
        bev: Float (B, C, H, W), rows along y.
        scan: Int64 (N,), scan of every point.
        position: Float (N, 2), row and column of every point on the map.
        lower: Float (2,), x, y of the map's lower corner in meters.
        cell: Float (2,), size of a cell along x and y in meters.
        inside: Bool (N,).
        encoded: Float (B, C2, H2, W2), map of the encoder, before the 2D layers; None if that is `bev`.
    """

    bev: Tensor
    scan: Tensor
    position: Tensor
    lower: Tensor
    cell: Tensor
    inside: Tensor
    encoded: Tensor | None = None

    @property
    def occupied(self) -> Tensor:
        """Bool (B, H, W), cells of `bev` where the encoder's map is not zero; the 2D layers fill the others, too."""
        filled = ((self.bev if self.encoded is None else self.encoded) != 0).any(1)
        if filled.shape == self.bev[:, 0].shape:
            return filled
        return F.adaptive_max_pool2d(filled.float(), self.bev.shape[-2:]) > 0

    def at(self, points: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """See `PointFeatures`; embeddings are interpolated, as published: next to an empty cell, which stays zero, a
        point gets a vector shorter than 1.
        """
        height, width = size = self.bev.shape[-2:]
        rows, columns, weights = bilinear_corners(self.position[points], size, size, align_corners=True)
        cells, place = ((self.scan[points][:, None] * height + rows) * width + columns).unique(return_inverse=True)
        features = self.bev[cells // (height * width), :, cells // width % height, cells % width].float()
        if embed is not None:
            features = embed(features) * (features != 0).any(1, keepdim=True)
        return F.embedding_bag(place, features, mode='sum', per_sample_weights=weights)

    def supports(self, xyz: Tensor, scan: Tensor) -> Supports:
        """See `PointFeatures`: all cells of the map."""
        return CellSupports(self.bev, self.lower, self.cell)


@MODELS.register_module()
class DetectorTrunk(nn.Module):
    """Gives every lidar point the bird's-eye-view feature of an mmdet3d detector at its place.

    Everything comes from the detector's own config: layers, range, voxel size. Children carry the detector's
    module names (`middle_encoder`, `backbone`, `neck`, or with prefix `pts_`), so their weights are the
    detector's.

    Args:
        detector: Config file of a detector with hard voxels or pillars, e.g.
            'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py' or a path from the current folder.
        read_after: 'neck' trains the whole trunk; 'middle_encoder' the sparse encoder alone, as SLidR and
            OLIVINE published it.

    Points need x, y, z in meters and intensity. Further columns that the detector reads are zero, which is
    the time lag of a nuScenes keyframe.

    Raises:
        ConfigError: The config is absent or its detector is of another kind.
    """

    def __init__(self, detector: str, read_after: str = 'neck') -> None:
        super().__init__()
        if read_after not in READ_AFTER:
            raise ConfigError(f'model.student.read_after={read_after!r}: set one of {READ_AFTER}')
        model = detector_model(detector)
        self.detector = detector
        self.prefix = 'pts_' if 'pts_middle_encoder' in model else ''
        self.parts = ('voxel_encoder', 'middle_encoder', 'backbone', 'neck')[: 2 if read_after != 'neck' else 4]
        for part in self.parts:
            setattr(self, self.prefix + part, MODELS.build(model[self.prefix + part]))
        after = model[f'{self.prefix}neck'].out_channels if read_after == 'neck' else None
        self.out_channels = sum(after) if after else model[f'{self.prefix}backbone'].in_channels
        encoder = model[f'{self.prefix}voxel_encoder']
        self.point_columns = encoder.get('num_features') or encoder.get('in_channels', 4)
        self.preprocessor = MODELS.build(model.data_preprocessor)
        self._check_grid(model)

    @property
    def voxel_layer(self) -> nn.Module:
        """The detector's voxelization."""
        return self.preprocessor.voxel_layer

    def forward(self, points: list[Tensor]) -> BEVFeatures:
        """Features of a batch of clouds, each (N_i, >=4) x, y, z in meters, intensity, ..."""
        columns = [F.pad(p[:, : self.point_columns], (0, max(0, self.point_columns - p.shape[1]))) for p in points]
        voxels = self.preprocessor.voxelize(columns, None)
        if not len(voxels['coors']):
            raise DataError(
                f'no point of the batch lies in the range {list(self.voxel_layer.point_cloud_range)} of '
                f'{self.detector}: check the lidar frame of the data'
            )
        with running_statistics(self, when=self.training and collapses_to_one_voxel(voxels['coors'])):
            encoded, bev = self._encode(voxels, len(points))
        return self._features(bev, points, encoded)

    def input_settings(self) -> dict:
        """Settings that a downstream network must have in common with this one to use its weights."""
        return dict(
            detector=self.detector,
            voxel_size=list(self.voxel_layer.voxel_size),
            point_cloud_range=list(self.voxel_layer.point_cloud_range),
            point_columns=self.point_columns,
        )

    def _encode(self, voxels: dict, batch_size: int) -> tuple[Tensor, Tensor]:
        part = {name: getattr(self, self.prefix + name) for name in self.parts}
        features = part['voxel_encoder'](voxels['voxels'], voxels['num_points'], voxels['coors'])
        encoded = part['middle_encoder'](features, voxels['coors'], batch_size)
        bev = part['neck'](part['backbone'](encoded))[0] if 'neck' in part else encoded
        return encoded, bev

    def _features(self, bev: Tensor, points: list[Tensor], encoded: Tensor | None = None) -> BEVFeatures:
        xyz = torch.cat([p[:, :3] for p in points])
        limits = xyz.new_tensor(self.voxel_layer.point_cloud_range)
        cell = (limits[3:5] - limits[:2]) / limits.new_tensor(bev.shape[:1:-1])
        return BEVFeatures(
            bev=bev,
            scan=scans_of([len(p) for p in points], xyz.device),
            position=((xyz[:, :2] - limits[:2]) / cell).flip(1),
            lower=limits[:2],
            cell=cell,
            inside=((xyz >= limits[:3]) & (xyz < limits[3:])).all(1),
            encoded=encoded,
        )

    def _check_grid(self, model: ConfigDict) -> None:
        """Range and voxel size must give the grid that the encoder was declared for."""
        encoder = model[f'{self.prefix}middle_encoder']
        declared = tuple(encoder.get('sparse_shape') or encoder.get('output_shape'))
        grid = tuple(int(n) for n in reversed(self.voxel_layer.grid_shape))
        if grid[1:] != declared[-2:] or (len(declared) == 3 and grid[0] > declared[0]):
            raise ConfigError(
                f'{self.detector}: range {list(self.voxel_layer.point_cloud_range)} and voxel size '
                f'{list(self.voxel_layer.voxel_size)} give a grid of {grid} (z, y, x), but the encoder is declared '
                f'for {declared}: correct one of them'
            )


def detector_model(path: str) -> ConfigDict:
    """Model of a detector's config, ready for pre-training.

    Raises:
        ConfigError: The file is absent, or its model has no hard voxels or no such trunk.
    """
    file = path if '::' in path else osp.abspath(path)
    try:
        model = Config.fromstring(f'_base_ = {file!r}', '.py').model
    except Exception as error:  # a config is code, and may raise anything
        raise ConfigError(
            f'model.student.detector={path!r} cannot be read as the config of a detector: {error}'
        ) from None
    settings = model.get('data_preprocessor', {})
    prefix = 'pts_' if 'pts_middle_encoder' in model else ''
    absent = [name for name in ('voxel_encoder', 'middle_encoder', 'backbone', 'neck') if prefix + name not in model]
    if absent or not settings.get('voxel') or settings.get('voxel_type', 'hard') != 'hard':
        why = f'has no {prefix}{absent[0]}' if absent else 'does not use hard voxels'
        raise ConfigError(
            f'model.student.detector={path!r}: this detector {why}: take SECOND, PV-RCNN, CenterPoint or PointPillars'
        )
    limits: Sequence[int] | int = settings.voxel_layer.max_voxels
    settings.voxel_layer.max_voxels = max(MAX_VOXELS, *(limits if isinstance(limits, Sequence) else [limits]))
    # PV-RCNN's keypoints need inner features, objectives do not
    model[f'{prefix}middle_encoder'].pop('return_middle_feats', None)
    return model
