"""Entry of a dataset in the catalog."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np

from peridot.errors import DataError


@dataclass(frozen=True)
class PointClass:
    """A class of points.

    Attributes:
        name: Name in the metainfo of a dataset.
        color: RGB, 0 to 255.
        raw_ids: Ids in the dataset's label files that make the class.
        foreground: True for objects that stand or move on the ground.
    """

    name: str
    color: tuple[int, int, int]
    raw_ids: tuple[int, ...]
    foreground: bool = False


@dataclass(frozen=True)
class Converter:
    """Conversion of a downloaded dataset to info files, a subcommand of `tools/create_data.py`.

    Attributes:
        name: The tool's subcommand, by custom also the name of the folder.
        layout: Contents of the folder, in words.
        function: 'module:function', called with the folder, `missing`, `verbose` and the options; returns the info
            files.
        parts: Patterns of the dataset's own files and folders below its folder.
        options: Arguments of argparse's `add_argument` by option.
        overlays: Draw the points of the first scans on their images: the calibration is the user's.
        then: What to do with the files, for the user; `{root}` stands for their folder.
    """

    name: str
    layout: str
    function: str
    parts: Sequence[str]
    options: Mapping[str, Mapping] = field(default_factory=dict)
    overlays: bool = False
    then: str = ''

    def find_parts(self, root: Path) -> list[Path]:
        """The dataset's own files and folders below its folder, as absolute paths.

        Raises:
            DataError: The folder does not exist or has none.
        """
        remedy = f'name the folder with {self.layout} with --root'
        if not root.is_dir():
            raise DataError(f'the folder {root} does not exist: {remedy}')
        found = sorted({path for part in self.parts for path in root.resolve().glob(part)})
        if not found:
            raise DataError(f'{root} holds no part of the dataset: {remedy}')
        return found

    def load(self) -> Callable[..., list[Path]]:
        """The function; its module, which may need mmdet3d's converters or a devkit, is imported only now."""
        module, _, name = self.function.partition(':')
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class CatalogEntry:
    """Everything that depends on a dataset.

    Attributes:
        name: `metainfo['dataset']` of its info files, and the option `dataset` in configs.
        columns: Names of a point's columns in its files.
        intensity_range: Smallest and largest intensity in its files; None if it has no limit.
        classes: Classes of points, in the order of their labels.
        ignored_ids: Ids in the label files that belong to no class.
        cameras: Folder of each camera's images, below the dataset's folder, in canonical order.
        figure_cameras: Cameras as they stand in a figure, the front one in the middle of the first row.
        front_camera: The camera that looks ahead.
        split_rules: Rules by which its training samples can be divided, the default first (docs/splits.md).
        split_unit: Unit that the rules count: 'scenes' (of nuScenes' tables), 'scans' or 'frames'.
        converter: Makes the info files; None if mmdet3d alone does, or none are needed.
        detection: mmdet3d's dataset of its boxes, without `data_root` and `ann_file`; None if there is none.
    """

    name: str
    columns: tuple[str, ...] = ()
    intensity_range: tuple[float, float] | None = None
    classes: tuple[PointClass, ...] = ()
    ignored_ids: tuple[int, ...] = ()
    cameras: Mapping[str, str] = field(default_factory=dict)
    figure_cameras: tuple[str, ...] = ()
    front_camera: str | None = None
    split_rules: tuple[str, ...] = ()
    split_unit: str | None = None
    converter: Converter | None = None
    detection: Mapping | None = None

    @property
    def ignore_index(self) -> int:
        """Label of points without a class, the number of classes."""
        return len(self.classes)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the foreground classes; empty if the foreground is not known."""
        return tuple(item.name for item in self.classes if item.foreground)

    def segmentation_meta(self) -> dict:
        """Classes of points in MMDetection3D's convention.

        Returns:
            `classes` (names), `palette`, `ignore_index`, `label2cat` and `seg_label_mapping` ({raw id: label}); empty
            if the dataset has no classes of points.
        """
        if not self.classes:
            return {}
        mapping = dict.fromkeys(self.ignored_ids, self.ignore_index)
        for label, item in enumerate(self.classes):
            mapping.update(dict.fromkeys(item.raw_ids, label))
        names = tuple(item.name for item in self.classes)
        return {
            'classes': names,
            'palette': [list(item.color) for item in self.classes],
            'ignore_index': self.ignore_index,
            'label2cat': dict(enumerate(names)),
            'seg_label_mapping': dict(sorted(mapping.items())),
        }

    def sort_cameras(self, names: Collection[str], in_figure: bool = False) -> list[str]:
        """Names of cameras in canonical order or in that of figures; unknown ones follow by name."""
        known = self.figure_cameras if in_figure else tuple(self.cameras)
        return [name for name in known if name in names] + sorted(set(names).difference(known))

    def front_index(self, names: Sequence[str]) -> int:
        """Index of the camera that looks ahead, or 0 if it is not among the names."""
        return list(names).index(self.front_camera) if self.front_camera in names else 0

    def info_file(self, split: str) -> str:
        """Name of the info file of a split, e.g. 'train'."""
        return f'{self.name}_infos_{split}.pkl'


def class_colors(count: int) -> np.ndarray:
    """RGB colors uint8 (count, 3) that are easy to tell apart."""
    hues = (np.arange(count) * 0.618) % 1.0
    values = np.where(np.arange(count) % 2, 0.75, 1.0)
    colors = [colorsys.hsv_to_rgb(hue, 0.8, value) for hue, value in zip(hues, values)]
    return (np.array(colors) * 255).astype(np.uint8)
