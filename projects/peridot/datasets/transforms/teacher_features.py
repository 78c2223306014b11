"""Reading of the feature maps that an image network left on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from peridot.datasets.transforms.packing import PackPaired
from peridot.datasets.transforms.views import RandomFlipViews, RandomResizedCropViews
from peridot.errors import ConfigError
from peridot.maps.teacher_features import TOOL, FeatureFolder
from peridot.registry import TRANSFORMS
from peridot.structures import ImageViews

RANDOM = (RandomFlipViews, RandomResizedCropViews)


@TRANSFORMS.register_module()
class LoadTeacherFeatures(BaseTransform):
    """Feature maps of the sample's images in place of the images, which are then not decoded.

    Must be the last transform before `PackPaired`. A map belongs to the whole image, so the images may be resized,
    by `ResizeViews` to the size the maps were made for, but not cropped or flipped.

    Args:
        folder (str): Folder of the maps, relative to the data root unless absolute.
        teacher (dict): Config of the teacher that the maps must be of, as in `model.teacher`.

    Raises:
        ConfigError: The pipeline augments images or resizes them to another size, or the maps are of another teacher.
        DataError: The folder, its manifest or a map is missing or damaged.
    """

    def __init__(self, folder: str, teacher: Mapping[str, Any]) -> None:
        self.folder = folder
        self.teacher = teacher
        self._opened: dict[str, FeatureFolder] = {}
        self._is_checked = False

    def map_folders(self, data_root: str) -> list[FeatureFolder]:
        """The folder that is read for a dataset, for checks before the first sample."""
        if data_root not in self._opened:
            self._opened[data_root] = FeatureFolder(self.folder, data_root, self.teacher)
        return [self._opened[data_root]]

    def transform(self, results: dict) -> dict:
        """Add `teacher_maps` float16 (V, C, h, w) and `teacher_features` (their `folder` and `image_size`)."""
        self._check_place(results.get('dataset'))
        (folder,) = self.map_folders(results['data_root'])
        image_size = tuple(folder.manifest.image_size)
        if len(results['img_paths']):
            check_whole(results['views'], image_size, folder)
            maps = np.stack([folder.read(path) for path in results['img_paths']])
            # (V, C, h, w) in channels-last memory
            results['teacher_maps'] = torch.from_numpy(maps).permute(0, 3, 1, 2)
        results['teacher_features'] = {'folder': str(folder.folder), 'image_size': image_size}
        return results

    def _check_place(self, dataset) -> None:
        """Look once at the other transforms of the dataset, which training samples bring along."""
        if self._is_checked or dataset is None:
            return
        steps = dataset.pipeline.transforms
        for step in steps:
            if isinstance(step, RANDOM):
                raise ConfigError(
                    f'LoadTeacherFeatures: the pipeline augments images with {type(step).__name__}, but the maps in '
                    f'{self.folder} belong to whole images: take that transform out (ResizeViews may stay), or train '
                    'with the teacher itself'
                )
        following = steps[steps.index(self) + 1 :]
        if following and not isinstance(following[0], PackPaired):
            raise ConfigError(
                f'LoadTeacherFeatures: {type(following[0]).__name__} comes after it, which may change cameras or '
                'images: put LoadTeacherFeatures right before PackPaired'
            )
        self._is_checked = True


def check_whole(views: ImageViews, image_size: tuple[int, int], folder: FeatureFolder) -> None:
    """Refuse views that are not the whole images, resized to the size the maps were made for.

    Raises:
        ConfigError: Naming both sizes, or saying that views are cropped or flipped.
    """
    found = views.common_size()
    if found != image_size:
        raise ConfigError(
            f'LoadTeacherFeatures: images of {found} pixels, but the maps in {folder.folder} were made for '
            f'{image_size}: set size={image_size} of ResizeViews, or make other maps with `python {TOOL} CONFIG`'
        )
    ratio = views.file_size / np.array(image_size)
    is_whole = np.allclose(views.scale, ratio) and np.allclose(views.offset, 0.5 * ratio - 0.5)
    if not is_whole:
        raise ConfigError(
            f'LoadTeacherFeatures: a transform before it crops or flips images, but the maps in {folder.folder} belong '
            'to whole images: take it out, or train with the teacher itself'
        )
