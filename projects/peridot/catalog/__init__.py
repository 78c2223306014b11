"""Catalog of datasets: classes, point columns, cameras, splits, converter. One file per dataset."""

import os
from collections.abc import Mapping
from pathlib import Path

from peridot.catalog.argoverse2 import ARGOVERSE2
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
    'MISSING',
    'CatalogEntry',
    'Converter',
    'PointClass',
    'class_colors',
    'create_command',
    'dataset_of',
    'lookup',
]
_ENTRIES = (NUSCENES, SEMANTICKITTI, KITTI, PANDAR64, PANDARGT, ARGOVERSE2, WAYMO, KITTI360, ONCE, FOLDER)
CATALOG = {entry.name: entry for entry in _ENTRIES}
# by the subcommands of tools/create_data.py; one may make several datasets
CONVERTERS = {entry.converter.name: entry.converter for entry in _ENTRIES if entry.converter}
# values of `missing` in datasets and of --missing: leave out what needs absent files, or stop
MISSING = ('skip', 'error')


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
        root: The dataset's folder; if `dataset` is None, its path decides which dataset it is: nuScenes unless it
            contains the name of another one.
        dataset: Name of the dataset.
    """
    # the name of own recordings is a word of many paths
    places = {name: Path(root).name if name == FOLDER.name else str(root) for name in CONVERTERS}
    guess = max((name for name, place in places.items() if name in place.lower()), key=len, default='nuscenes')
    converter = CONVERTERS[guess] if dataset is None else lookup(dataset).converter
    if converter is None:
        return f"mmdet3d's tools/create_data.py {dataset}"
    return f'python tools/create_data.py {converter.name} --root {root}'
