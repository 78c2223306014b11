"""The sample as the model gets it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.transforms import BaseTransform
from mmdet3d.structures import Det3DDataSample, PointData

from peridot.registry import TRANSFORMS
from peridot.structures import Pairs


@TRANSFORMS.register_module()
class PackPaired(BaseTransform):
    """Decode the images and pack a sample for mmengine's `pseudo_collate`.

    `inputs`: `points` float32 (N, C); `images` uint8 (V, 3, h, w) RGB, absent without cameras; `pairs`
    (Pairs, none at all without `ProjectPoints`); `maps` {name: int64 (V, h, w)} where maps were loaded;
    `teacher_maps` float16 (V, C, h, w) in place of `images` where `LoadTeacherFeatures` read them; `queries`
    (Queries) where `SampleOccupancyQueries` drew them.
    `data_samples`: a Det3DDataSample with metainfo and, where labels were loaded,
    `gt_pts_seg.pts_semantic_mask` int64 (N,).

    Args:
        meta_keys (Sequence[str]): Keys to keep as metainfo where present.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'token',
            'lidar_path',
            'cameras',
            'img_paths',
            'dataset_name',
            'label_classes',
            'map_ids',
            'skipped',
            'teacher_features',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Return `inputs` and `data_samples`."""
        inputs = {'points': results['points'].tensor.float(), 'pairs': results.get('pairs', Pairs.empty())}
        if 'queries' in results:
            inputs['queries'] = results['queries']
        views = results.get('views')
        if views is not None and len(views):
            if 'teacher_maps' in results:
                inputs['teacher_maps'] = results['teacher_maps']
            else:
                inputs['images'] = torch.from_numpy(views.decode())
            if views.maps:
                inputs['maps'] = {name: torch.from_numpy(views.warp_maps(name)).long() for name in views.maps}
        return {'inputs': inputs, 'data_samples': self._data_sample(results)}

    def _data_sample(self, results: dict) -> Det3DDataSample:
        meta = {key: results[key] for key in self.meta_keys if key in results}
        meta['dataset'] = meta.pop('dataset_name', None)
        sample = Det3DDataSample(metainfo=meta)
        if 'pts_semantic_mask' in results:
            sample.gt_pts_seg = PointData(pts_semantic_mask=torch.from_numpy(results['pts_semantic_mask']))
        if 'eval_ann_info' in results:
            sample.eval_ann_info = results['eval_ann_info']
        return sample
