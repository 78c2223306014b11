"""Transforms of single images with label and region maps, in the style of mmsegmentation's."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from peridot.datasets.camera_images import IGNORED
from peridot.drive_and_segment.segmentor.region_joining import AttachmentRule, join_regions, require_partition
from peridot.errors import ConfigError, DataError
from peridot.maps.folder import MapFolder
from peridot.maps.images import ImageSource
from peridot.maps.named import maps_called
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadCameraImage(BaseTransform):
    """Read an image file as mmsegmentation expects it: blue, green, red.

    Args:
        backend_args: Arguments of mmengine's file back end. Defaults to those of the dataset.

    Raises:
        DataError: The file is absent, truncated or no image.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add `img`, uint8 (H, W, 3) BGR, `img_shape` and `ori_shape`."""
        image = np.ascontiguousarray(ImageSource(results['img_path'], backend_args=self.backend_args).read()[..., ::-1])
        return {**results, 'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Read the label map of an image; must come right after `LoadCameraImage`.

    Args:
        name: Name of the maps in the dataset's `maps`.

    Raises:
        ConfigError: The dataset has no label maps of that name.
        DataError: A map is missing or wrong, or there are more than 255 classes.
    """

    def __init__(self, name: str = 'labels') -> None:
        self.name = name

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map`, uint8 (H, W), 255 where there is no class, also to `seg_fields`."""
        folder = maps_called(self.name, results)
        if folder.num_classes is None:
            raise ConfigError(f'maps.{self.name} of the dataset names superpixels ({folder.folder}): name label maps')
        if folder.num_classes > IGNORED:
            raise DataError(f'{folder.folder} has {folder.num_classes} classes, at most {IGNORED} fit: merge classes')
        labels = folder.ids(_read_map(folder, results))
        results['gt_seg_map'] = np.where(labels < 0, IGNORED, labels).astype(np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class LoadRegionMap(BaseTransform):
    """Read an image's proposals and superpixels as regions whose pixels should agree, see `join_regions`.

    Must come right after `LoadCameraImage`; crops, resizes and flips then also apply to the regions.

    Args:
        proposals: Name of the maps of tools/make_proposals.py in the dataset's `maps`.
        superpixels: Name of the superpixels there.
        **rule: Settings of `AttachmentRule`.

    Raises:
        ConfigError: The dataset has no maps of one of the names.
        DataError: A map is missing or wrong, or the superpixels leave pixels out.
    """

    def __init__(self, proposals: str = 'proposals', superpixels: str = 'superpixels', **rule: float) -> None:
        self.proposals = proposals
        self.superpixels = superpixels
        self.rule = AttachmentRule(**rule)

    def transform(self, results: dict) -> dict:
        """Add `gt_region_map`, int32 (H, W), also to `seg_fields`."""
        proposals, superpixels = (maps_called(name, results) for name in (self.proposals, self.superpixels))
        require_partition(superpixels)
        maps = [_read_map(folder, results) for folder in (proposals, superpixels)]
        results['gt_region_map'] = join_regions(*maps, self.rule)
        results['seg_fields'].append('gt_region_map')
        return results


def _read_map(folder: MapFolder, results: dict) -> np.ndarray:
    """Map (H, W) of a sample's image, with the values of the file."""
    return folder.read(results['img_path'], results['ori_shape'], results['img_token'])


@TRANSFORMS.register_module()
class KeepLabeled(BaseTransform):
    """Drop samples with fewer labeled pixels than `min_pixels`; the dataset then takes another one.

    Args:
        min_pixels: Number of labeled pixels that a crop needs.
    """

    def __init__(self, min_pixels: int = 1) -> None:
        self.min_pixels = min_pixels

    def transform(self, results: dict) -> dict | None:
        """Return None for a sample without enough labels."""
        return results if (results['gt_seg_map'] != IGNORED).sum() >= self.min_pixels else None


@TRANSFORMS.register_module()
class KeepTeacherView(BaseTransform):
    """Keep a copy of the image for the teacher; later transforms, such as distorted colors, only affect the student."""

    def transform(self, results: dict) -> dict:
        """Add `teacher_view`, a copy of `img`."""
        results['teacher_view'] = results['img'].copy()
        return results
