"""Labeled street images for evaluation: mmsegmentation's datasets, with missing class lists and one-line errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset, CityscapesDataset, DarkZurichDataset, NightDrivingDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from peridot.datasets.camera_images import IGNORED
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS, TRANSFORMS

# name and color of the ids of Cityscapes' labelIds files that are the 27 classes, in order, from id 7 on
CITYSCAPES27 = (
    ('road', (128, 64, 128)),
    ('sidewalk', (244, 35, 232)),
    ('parking', (250, 170, 160)),
    ('rail track', (230, 150, 140)),
    ('building', (70, 70, 70)),
    ('wall', (102, 102, 156)),
    ('fence', (190, 153, 153)),
    ('guard rail', (180, 165, 180)),
    ('bridge', (150, 100, 100)),
    ('tunnel', (150, 120, 90)),
    ('pole', (153, 153, 153)),
    ('polegroup', (153, 153, 153)),
    ('traffic light', (250, 170, 30)),
    ('traffic sign', (220, 220, 0)),
    ('vegetation', (107, 142, 35)),
    ('terrain', (152, 251, 152)),
    ('sky', (70, 130, 180)),
    ('person', (220, 20, 60)),
    ('rider', (255, 0, 0)),
    ('car', (0, 0, 142)),
    ('truck', (0, 0, 70)),
    ('bus', (0, 60, 100)),
    ('caravan', (0, 0, 90)),
    ('trailer', (0, 0, 110)),
    ('train', (0, 80, 100)),
    ('motorcycle', (0, 0, 230)),
    ('bicycle', (119, 11, 32)),
)
FIRST_ID = 7
ACDC_CONDITIONS = ('fog', 'night', 'rain', 'snow')


class FoundFiles(BaseSegDataset):
    """A dataset that refuses a folder without images, and images without labels."""

    def load_data_list(self) -> list[dict]:
        """List images as mmsegmentation does, sorted by path.

        Raises:
            DataError: There is no image, or one has no label file.
        """
        folder = Path(self.data_prefix['img_path'])
        samples = super().load_data_list() if folder.is_dir() else []
        if not samples:
            what = f'holds no image *{self.img_suffix}' if folder.is_dir() else 'does not exist'
            raise DataError(f'{folder} {what}: give --data-root, or set data_prefix.img_path of {type(self).__name__}')
        missing = [item['seg_map_path'] for item in samples if not os.path.isfile(item['seg_map_path'])]
        if missing:
            raise DataError(
                f'{len(missing)} of {len(samples)} images below {folder} have no labels ({missing[0]}, ...): restore '
                f'them, or set data_prefix.seg_map_path of {type(self).__name__}'
            )
        return samples


@DATASETS.register_module()
class CityscapesImages(FoundFiles, CityscapesDataset):
    """Cityscapes, 19 classes: `leftImg8bit` and `gtFine/*_labelTrainIds.png` (cityscapesscripts makes them)."""


@DATASETS.register_module()
class Cityscapes27Images(FoundFiles, CityscapesDataset):
    """Cityscapes, 27 classes: ids 7 to 33 of `*_gtFine_labelIds.png` are 0 to 26, the others are ignored.

    Args:
        **kwargs: Those of mmsegmentation's `CityscapesDataset`.
    """

    METAINFO = dict(classes=tuple(name for name, _ in CITYSCAPES27), palette=[list(rgb) for _, rgb in CITYSCAPES27])

    def __init__(self, **kwargs) -> None:
        super().__init__(seg_map_suffix='_gtFine_labelIds.png', **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Class of every id of the files."""
        ids = range(FIRST_ID + len(CITYSCAPES27))
        return {number: number - FIRST_ID if number >= FIRST_ID else IGNORED for number in ids}


@DATASETS.register_module()
class DarkZurichImages(FoundFiles, DarkZurichDataset):
    """Dark Zurich's validation images, 19 classes."""


@DATASETS.register_module()
class NightDrivingImages(FoundFiles, NightDrivingDataset):
    """Nighttime Driving's test images, 19 classes."""


@DATASETS.register_module()
class ACDCImages(FoundFiles, DarkZurichDataset):
    """ACDC, images in fog, at night, in rain and snow: `rgb_anon/CONDITION/val`, `gt/CONDITION/val`, 19 classes.

    A sample has its `condition`; `PackSegInputs` keeps it if `meta_keys` names it.

    Args:
        conditions: Conditions to use.
        split: Folder below each condition.
        data_prefix: Folders above the conditions.
        **kwargs: Those of mmsegmentation's `BaseSegDataset`.

    Raises:
        ConfigError: A condition is unknown.
    """

    def __init__(
        self,
        conditions: Sequence[str] = ACDC_CONDITIONS,
        split: str = 'val',
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        if unknown := [name for name in conditions if name not in ACDC_CONDITIONS]:
            raise ConfigError(f'ACDC has no condition {unknown[0]!r}: choose from {", ".join(ACDC_CONDITIONS)}')
        self.conditions = list(conditions)
        self.split = split
        super().__init__(data_prefix=data_prefix or dict(img_path='rgb_anon', seg_map_path='gt'), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Images of all conditions, one after the other."""
        above, samples = dict(self.data_prefix), []
        for condition in self.conditions:
            self.data_prefix = {name: os.path.join(path, condition, self.split) for name, path in above.items()}
            samples += [{**item, 'condition': condition} for item in super().load_data_list()]
        self.data_prefix = above
        return samples


@TRANSFORMS.register_module()
class LoadClassMap(LoadAnnotations):
    """mmsegmentation's `LoadAnnotations` that refuses files other than class maps with one channel of 8 bits.

    `LoadAnnotations` takes the lower 8 bits of other files, so that wrong ids would be taken for classes.

    Args:
        **kwargs: Those of `LoadAnnotations`.
    """

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map`, uint8 (H, W).

        Raises:
            DataError: The file cannot be read, has other channels or more bits.
        """
        path = results['seg_map_path']
        try:
            with Image.open(path) as image:
                mode = image.mode
        except OSError:
            raise DataError(f'the labels {path} cannot be read: fetch them again') from None
        if mode not in ('L', 'P'):
            raise DataError(
                f'the labels {path} are an image of mode {mode}, a map of classes has one channel of 8 bits: set '
                'seg_map_suffix of the dataset to the files with class ids'
            )
        return super().transform(results)
