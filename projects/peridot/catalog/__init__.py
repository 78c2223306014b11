"""Catalog of datasets: classes, point columns, cameras, splits, converter. One file per dataset."""

import os
from collections.abc import Mapping
from pathlib import Path

from peridot.catalog.entry import CatalogEntry, Converter, PointClass, class_colors
from peridot.catalog.folder import FOLDER
from peridot.catalog.kitti import KITTI
from peridot.catalog.kitti360 import KITTI360
from peridot.catalog.nuscenes import NUSCENES
from peridot.catalog.once import ONCE
from peridot.catalog.pandaset import PANDAR64, PANDARGT
from peridot.catalog.semantickitti import SEMANTICKITTI
from peridot.catalog.waymo import WAYMO

__all__ = [
    'CATALOG',
    'CONVERTERS',
    'CatalogEntry',
    'Converter',
    'PointClass',
    'class_colors',
    'create_command',
    'dataset_of',
    'lookup',
]
_ENTRIES = (NUSCENES, SEMANTICKITTI, KITTI, PANDAR64, PANDARGT, WAYMO, KITTI360, ONCE, FOLDER)
CATALOG = {entry.name: entry for entry in _ENTRIES}
# by the subcommands of tools/create_data.py; one may make several datasets
CONVERTERS = {entry.converter.name: entry.converter for entry in _ENTRIES if entry.converter}


def lookup(name: str | None) -> CatalogEntry:
    """The entry of a dataset; an empty one for a dataset that is not in the catalog."""
    return CATALOG.get(name) or CatalogEntry(str(name))


def dataset_of(settings: Mapping) -> str | None:
    """Name of the dataset that a dataset's config reads; None if it does not say."""
    kind = str(settings.get('type')).split('.')[-1]
    detectors = {entry.detection['type'].split('.')[-1]: entry.name for entry in _ENTRIES if entry.detection}
    return settings.get('dataset') or detectors.get(kind)


def create_command(root: str | os.PathLike, dataset: str | None = None) -> str:
    """The command that makes the info files in a folder, for errors.

    Args:
        root: The dataset's folder; if `dataset` is None, its name decides which dataset it is: nuScenes unless it
            contains that of another one.
        dataset: Name of the dataset.
    """
    guess = max((name for name in CONVERTERS if name in Path(root).name.lower()), key=len, default='nuscenes')
    converter = CONVERTERS[guess] if dataset is None else lookup(dataset).converter
    if converter is None:
        return f"mmdet3d's tools/create_data.py {dataset}"
    return f'python tools/create_data.py {converter.name} --root {root}'
