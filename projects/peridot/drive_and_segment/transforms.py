"""Transforms of single images with label and region maps, in the manner of mmsegmentation's."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from peridot.datasets.camera_images import IGNORED
from peridot.datasets.transforms.loading import _MapReader
from peridot.drive_and_segment.pseudo_labels.attachment import AttachmentRule, join_regions, require_partition
from peridot.errors import DataError
from peridot.maps.folder import MapFolder
from peridot.maps.images import ImageSource
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadCameraImage(BaseTransform):
    """Read an image file as mmsegmentation wants it: blue, green, red.

    Raises:
        DataError: The file is absent, truncated or no image.
    """

    def transform(self, results: dict) -> dict:
        """Add `img` (H, W, 3) uint8 BGR, `img_shape` and `ori_shape`."""
        image = np.ascontiguousarray(ImageSource(results['img_path']).read()[..., ::-1])
        return {**results, 'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}


class _ImageMapReader(_MapReader):
    """Reads the map of a single image."""

    def read(self, results: dict) -> np.ndarray:
        folder = self.open(results['data_root'])
        return folder.read(results['img_path'], results['ori_shape'], results['img_token'])


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Read the label map of an image; must come right after `LoadCameraImage`.

    Args:
        folder (str): Label map folder, relative to the data root unless absolute.

    Raises:
        DataError: The folder or a map is absent, a map has another size than its image or holds another value than
            classes, or the classes are more than 255.
    """

    def __init__(self, folder: str) -> None:
        self.reader = _ImageMapReader(folder, 'labels')

    def map_folders(self, data_root: str) -> list[MapFolder]:
        """The folder that is read for a dataset, for checks before the first sample."""
        return [self.reader.open(data_root)]

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map` (H, W) uint8, 255 where no class is, also to `seg_fields`."""
        folder, labels = self.reader.open(results['data_root']), self.reader.read(results)
        if folder.num_classes > IGNORED:
            raise DataError(f'{folder.folder} has {folder.num_classes} classes, at most {IGNORED} fit: merge classes')
        if folder.ignore is not None:
            labels = np.where(labels == folder.ignore, IGNORED, labels)
        results['gt_seg_map'] = labels.astype(np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class LoadRegionMap(BaseTransform):
    """Read an image's proposals and superpixels as regions whose pixels should agree, see `join_regions`.

    Must come right after `LoadCameraImage`; crops, resizes and flips then take the regions along.

    Args:
        proposals (str): Folder of tools/make_proposals.py, relative to the data root unless absolute.
        superpixels (str): Folder of superpixels, as `proposals`.
        **rule: Settings of `AttachmentRule`.

    Raises:
        DataError: A folder or map is absent, the superpixels leave pixels out, or a map has another size than its
            image.
    """

    def __init__(self, proposals: str, superpixels: str, **rule: float) -> None:
        self.readers = [_ImageMapReader(folder, 'superpixels') for folder in (proposals, superpixels)]
        self.rule = AttachmentRule(**rule)

    def map_folders(self, data_root: str) -> list[MapFolder]:
        """The folders that are read for a dataset, for checks before the first sample."""
        folders = [reader.open(data_root) for reader in self.readers]
        require_partition(folders[1])
        return folders

    def transform(self, results: dict) -> dict:
        """Add `gt_region_map` (H, W) int32, also to `seg_fields`."""
        proposals, superpixels = (reader.read(results) for reader in self.readers)
        results['gt_region_map'] = join_regions(proposals, superpixels, self.rule)
        results['seg_fields'].append('gt_region_map')
        return results


@TRANSFORMS.register_module()
class KeepLabeled(BaseTransform):
    """Give up samples with fewer labeled pixels than `min_pixels`; the dataset then takes another one.

    Args:
        min_pixels (int): Labeled pixels that a crop needs.
    """

    def __init__(self, min_pixels: int = 1) -> None:
        self.min_pixels = min_pixels

    def transform(self, results: dict) -> dict | None:
        """None for a sample without labels."""
        return results if (results['gt_seg_map'] != IGNORED).sum() >= self.min_pixels else None


@TRANSFORMS.register_module()
class KeepTeacherView(BaseTransform):
    """Keep the image as it is now for the teacher: what follows, such as distorted colors, only the student sees."""

    def transform(self, results: dict) -> dict:
        """Add `teacher_view`, a copy of `img`."""
        results['teacher_view'] = results['img'].copy()
        return results
