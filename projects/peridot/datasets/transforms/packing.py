"""Packing of a sample for the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.structures import Det3DDataSample, PointData
from torch import Tensor

from peridot.datasets.transforms.augmentation import augmentation_of
from peridot.errors import ConfigError
from peridot.maps.named import TEACHER_FEATURES
from peridot.maps.teacher_features import TOOL, FeatureFolder
from peridot.registry import TRANSFORMS
from peridot.structures import Frames, ImageViews, Pairs


@TRANSFORMS.register_module()
class PackPaired(BaseTransform):
    """Decode the images and pack a sample for mmengine's `pseudo_collate`.

    `inputs`: `points` float32 (N, C); `frames` (Frames of one row); `images` uint8 (V, 3, h, w) RGB, absent without
    cameras; `pairs` (Pairs, empty without `ProjectPoints`); `maps` {name: int64 (V, h, w)} if maps were
    loaded; `segments` int64 (N,) if `LoadLidarSegments` read them; `queries` (Queries) if `SampleOccupancyQueries` drew
    them.
    If the dataset's `maps` name `teacher_features`, `teacher_maps` float16 (V, C, h, w) are read instead of
    `images`, which are then not decoded. A map belongs to the whole image: images may be resized, by `ResizeViews` to
    the size that the maps were made for, but not cropped or flipped.
    `data_samples`: a Det3DDataSample with metainfo and, if labels were loaded,
    `gt_pts_seg.pts_semantic_mask` int64 (N,).
    A dense cloud (`frames` of `PairedDataset`) has no images; its pairs refer to those of the keyframe as they are
    after the pipeline.

    Args:
        meta_keys: Keys to keep as metainfo where present.

    Raises:
        ConfigError: A transform of another package has removed points with segments, or images were cropped, flipped or
            resized to another size than the teacher's maps are for.
        DataError: A map of the teacher is missing or damaged.
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
            'num_segments',
            'skipped',
            'dropped_points',
            'teacher_features',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Return `inputs` and `data_samples`."""
        views, pairs = results.get('views') or (), results.get('pairs', Pairs.empty())
        if 'dense_sweeps' in results and len(views):
            views, pairs = (), views.follow(pairs)
        inputs = {
            'points': results['points'].tensor.float(),
            'pairs': pairs,
            'frames': _frame(results, len(results['points']), len(views)),
        }
        if 'queries' in results:
            inputs['queries'] = results['queries']
        if 'segments' in results:
            inputs['segments'] = _segments(results)
        if len(views):
            inputs.update(_images(results, views))
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


def _frame(results: dict, num_points: int, num_images: int) -> Frames:
    if 'frame' not in results:
        return Frames.single(num_points, num_images)
    to_sample = torch.linalg.solve(augmentation_of(results), torch.from_numpy(results['to_sample']), left=False)
    return Frames.single(num_points, num_images, results['frame'], results['time'], to_sample)


def _segments(results: dict) -> Tensor:
    """Segments Int64 (N,) of the points."""
    segments, count = results['segments'], len(results['points'])
    if len(segments) != count:
        raise ConfigError(
            f'{results["lidar_path"]}: there are {count} points, but {len(segments)} have lidar segments: a transform '
            'that removes points does not know of the segments: take it out, or use one of peridot'
        )
    return torch.from_numpy(segments)


def _images(results: dict, views: ImageViews) -> dict:
    """The images, or the teacher's maps instead."""
    folder = results.get('maps', {}).get(TEACHER_FEATURES)
    if folder is None:
        return {'images': torch.from_numpy(views.decode())}
    check_whole(views, folder)
    results['teacher_features'] = {'folder': str(folder.folder), 'image_size': tuple(folder.manifest.image_size)}
    maps = np.stack([folder.read(path) for path in results['img_paths']])
    # (V, C, h, w) in channels-last memory
    return {'teacher_maps': torch.from_numpy(maps).permute(0, 3, 1, 2)}


def check_whole(views: ImageViews, folder: FeatureFolder) -> None:
    """Refuse views that are not whole images, resized to the size that the folder's maps were made for.

    Raises:
        ConfigError: Naming both sizes, or saying that views are cropped or flipped.
    """
    found, image_size = views.common_size(), tuple(folder.manifest.image_size)
    if found != image_size:
        raise ConfigError(
            f'images of {found} pixels, but the teacher features in {folder.folder} were made for {image_size}: set '
            f'size={image_size} of ResizeViews, or make others with `python {TOOL} CONFIG`'
        )
    ratio = views.file_size / np.array(image_size)
    if not (np.allclose(views.scale, ratio) and np.allclose(views.offset, 0.5 * ratio - 0.5)):
        raise ConfigError(
            f'the pipeline crops or flips images, but the teacher features in {folder.folder} belong to whole images: '
            'take RandomFlipViews and RandomResizedCropViews out (ResizeViews may stay), or train with the teacher '
            'itself'
        )
