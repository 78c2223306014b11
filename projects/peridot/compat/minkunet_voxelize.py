"""mmdet3d's MinkUNet voxelization works on CUDA and on labeled scans only.

Broken: `Det3DDataPreprocessor.voxelize` with `voxel_type='minkunet'` calls `.cuda()` on its index arrays, which
raises without CUDA and takes the wrong GPU for a model on another one, and reads `data_sample.gt_pts_seg`,
which raises AttributeError for scans without labels.
Versions: mmdet3d 1.1 to 1.4.
Detected: `.cuda()` in the method's source.
Repair: this branch alone is done again on the points' own device, with the same numbers; all other voxel types
go to the original method.
Not changed: where `max_voxels` drops voxels in training, `point2voxel_map` still counts the voxels of the whole
scan, as upstream, so it does not fit the kept voxels. Objectives that read features at points through the map
need `max_voxels=None`.
Delete when: mmdet3d's method has no `.cuda()` and checks for `gt_pts_seg`.
"""

import functools
import inspect
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .records import note


def voxelize_scan(preprocessor, points: Tensor, data_sample, index: int) -> tuple[Tensor, Tensor]:
    """Keep one point per voxel of one scan.

    Args:
        preprocessor: Det3DDataPreprocessor with `voxel_layer.voxel_size` in meters.
        points: Float (N, C), x, y, z in meters and features, N > 0.
        data_sample: Det3DDataSample; gets `point2voxel_map` int64 (N,) and `batch_idx` int32 (V,), and where it
            has point labels `gt_pts_seg.voxel_semantic_mask` (V,).
        index: The scan's number in its batch.

    Returns:
        Kept points (V, C) and int32 voxel coordinates (V, 4) with `index` in the first column (`batch_first`)
        or the last.
    """
    coordinates = torch.round(points[:, :3] / points.new_tensor(preprocessor.voxel_layer.voxel_size)).int()
    coordinates -= coordinates.min(0)[0]
    kept, point2voxel_map = preprocessor.sparse_quantize(
        coordinates.cpu().numpy(), return_index=True, return_inverse=True
    )
    limit = preprocessor.max_voxels
    if preprocessor.training and limit is not None and len(kept) > limit:
        kept = np.random.choice(kept, limit, replace=False)
    kept = torch.from_numpy(kept).to(points.device)

    labels = getattr(data_sample, 'gt_pts_seg', None)
    if labels is not None and 'pts_semantic_mask' in labels:
        labels.voxel_semantic_mask = labels.pts_semantic_mask[kept]
    side = (1, 0) if preprocessor.batch_first else (0, 1)
    voxel_coordinates = F.pad(coordinates[kept], side, value=index)
    data_sample.batch_idx = voxel_coordinates[:, 0 if preprocessor.batch_first else -1]
    data_sample.point2voxel_map = torch.from_numpy(point2voxel_map).to(points.device).long()
    return points[kept], voxel_coordinates


def repair(module: ModuleType) -> None:
    """Repair the preprocessor of mmdet3d.models.data_preprocessors.data_preprocessor."""
    preprocessor = module.Det3DDataPreprocessor
    original = preprocessor.voxelize
    if '.cuda()' not in inspect.getsource(original):
        return

    @functools.wraps(original)
    @torch.no_grad()
    def voxelize(self, points: list[Tensor], data_samples: list) -> dict[str, Tensor]:
        if self.voxel_type != 'minkunet':
            return original(self, points, data_samples)
        scans = [voxelize_scan(self, *scan, i) for i, scan in enumerate(zip(points, data_samples))]
        voxels, coordinates = zip(*scans)
        return dict(voxels=torch.cat(voxels), coors=torch.cat(coordinates))

    preprocessor.voxelize = voxelize
    note('minkunet_voxelize', "MinkUNet's voxelization runs on the points' own device, labels optional")
