"""Transforms of single images with label and region maps, in the manner of mmsegmentation's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from mmcv.transforms import BaseTransform

from peridot.datasets.camera_images import IGNORED
from peridot.drive_and_segment.segmentor.region_joining import AttachmentRule, join_regions, require_partition
from peridot.errors import ConfigError, DataError
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


class NamedMaps:
    """The maps that a `CameraImageDataset` has under a name; each folder is opened once.

    Args:
        name: Key of the dataset's `maps`.
        kind: 'labels' or 'superpixels'.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self._opened: dict[tuple[str, str], MapFolder] = {}

    def open(self, data_root: str, maps: Mapping[str, str]) -> MapFolder:
        """Their folder.

        Args:
            data_root: Root of the dataset.
            maps: The dataset's folders by name.

        Raises:
            ConfigError: The dataset has no maps of the name.
            DataError: The folder is absent or of another kind.
        """
        if self.name not in maps:
            raise ConfigError(
                f'the dataset has no maps called {self.name!r}: add {self.name}=FOLDER to its `maps` '
                f'(train_dataloader.dataset.maps.{self.name})'
            )
        place = (data_root, maps[self.name])
        if place not in self._opened:
            self._opened[place] = MapFolder(maps[self.name], data_root, self.kind)
        return self._opened[place]

    def read(self, results: dict) -> np.ndarray:
        """(H, W) map of a sample's image."""
        folder = self.open(results['data_root'], results['maps'])
        return folder.read(results['img_path'], results['ori_shape'], results['img_token'])


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Read the label map of an image; must come right after `LoadCameraImage`.

    Args:
        name (str): Name of the maps in the dataset's `maps`.

    Raises:
        ConfigError: The dataset has no maps of the name.
        DataError: The folder or a map is absent, a map has another size than its image or holds another value than
            classes, or the classes are more than 255.
    """

    def __init__(self, name: str = 'labels') -> None:
        self.labels = NamedMaps(name, 'labels')

    def map_folders(self, data_root: str, maps: Mapping[str, str]) -> dict[str, MapFolder]:
        """The folder that is read for a dataset, for checks before the first sample."""
        folder = self.labels.open(data_root, maps)
        if folder.num_classes > IGNORED:
            raise DataError(f'{folder.folder} has {folder.num_classes} classes, at most {IGNORED} fit: merge classes')
        return {self.labels.name: folder}

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map` (H, W) uint8, 255 where no class is, also to `seg_fields`."""
        (folder,) = self.map_folders(results['data_root'], results['maps']).values()
        labels = self.labels.read(results)
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
        proposals (str): Name of the maps of tools/make_proposals.py in the dataset's `maps`.
        superpixels (str): Name of the superpixels there.
        **rule: Settings of `AttachmentRule`.

    Raises:
        ConfigError: The dataset has no maps of a name.
        DataError: A folder or map is absent, the superpixels leave pixels out, or a map has another size than its
            image.
    """

    def __init__(self, proposals: str = 'proposals', superpixels: str = 'superpixels', **rule: float) -> None:
        self.proposals = NamedMaps(proposals, 'superpixels')
        self.superpixels = NamedMaps(superpixels, 'superpixels')
        self.rule = AttachmentRule(**rule)

    def map_folders(self, data_root: str, maps: Mapping[str, str]) -> dict[str, MapFolder]:
        """The folders that are read for a dataset, for checks before the first sample."""
        folders = {reader.name: reader.open(data_root, maps) for reader in (self.proposals, self.superpixels)}
        require_partition(folders[self.superpixels.name])
        return folders

    def transform(self, results: dict) -> dict:
        """Add `gt_region_map` (H, W) int32, also to `seg_fields`."""
        results['gt_region_map'] = join_regions(self.proposals.read(results), self.superpixels.read(results), self.rule)
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
