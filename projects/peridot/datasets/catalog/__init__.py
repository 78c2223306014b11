"""Catalog of datasets: classes, point columns, cameras, splits, converter. One file per dataset."""

import os

from peridot.datasets.catalog.argoverse2 import ARGOVERSE2
from peridot.datasets.catalog.entry import CatalogEntry, Converter, PointClass
from peridot.datasets.catalog.kitti import KITTI
from peridot.datasets.catalog.kitti360 import KITTI360
from peridot.datasets.catalog.nuscenes import NUSCENES
from peridot.datasets.catalog.once import ONCE
from peridot.datasets.catalog.pandaset import PANDAR64, PANDARGT
from peridot.datasets.catalog.semantickitti import SEMANTICKITTI
from peridot.datasets.catalog.waymo import WAYMO

__all__ = ['CATALOG', 'CONVERTERS', 'CatalogEntry', 'Converter', 'PointClass', 'create_command', 'lookup']

_ENTRIES = (NUSCENES, SEMANTICKITTI, KITTI, PANDAR64, PANDARGT, ARGOVERSE2, WAYMO, KITTI360, ONCE)
CATALOG = {entry.name: entry for entry in _ENTRIES}
# by the subcommands of tools/create_data.py; one may make several datasets
CONVERTERS = {entry.converter.name: entry.converter for entry in _ENTRIES if entry.converter}


def lookup(name: str | None) -> CatalogEntry:
    """The entry of a dataset; an empty one for a dataset that is not in the catalog."""
    return CATALOG.get(name) or CatalogEntry(str(name))


def create_command(root: str | os.PathLike, dataset: str | None = None) -> str:
    """The command that makes the info files in a folder, for errors.

    Args:
        root: The dataset's folder; if `dataset` is None, its path decides which dataset it is: nuScenes unless it
            contains the name of another one.
        dataset: Name of the dataset.
    """
    guess = max((name for name in CONVERTERS if name in str(root).lower()), key=len, default='nuscenes')
    converter = CONVERTERS[guess] if dataset is None else lookup(dataset).converter
    if converter is None:
        return f"mmdet3d's tools/create_data.py {dataset}"
    return f'python tools/create_data.py {converter.name} --root {root}'
