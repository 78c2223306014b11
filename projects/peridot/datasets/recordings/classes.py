"""`classes.json` of recordings with labels: the classes of their ids."""

from __future__ import annotations

from pathlib import Path

from peridot.catalog import CatalogEntry, PointClass, class_colors
from peridot.datasets.recordings.calibration import read_json
from peridot.errors import DataError

CLASSES = 'classes.json'
_WANTED = 'an object of ids and names, e.g. {"0": null, "1": "car", "7": "road"}; null for points without a class'


def read_classes(path: Path) -> dict:
    """Metainfo of the classes, in MMDetection3D's convention.

    Args:
        path: JSON file {id: name}; ids of one name make one class, those of null belong to none. Classes are in the
            order of the file.

    Returns:
        See `CatalogEntry.segmentation_meta`.

    Raises:
        DataError: The file is missing, or holds something else.
    """
    content = read_json(path, f'write {_WANTED}, or rename labels/ to do without labels')
    try:
        ids = {int(number): name for number, name in content.items()}
        names = [name for name in dict.fromkeys(ids.values()) if name is not None]
    except (AttributeError, TypeError, ValueError):
        raise DataError(f'{path} must be {_WANTED}') from None
    texts = names and all(isinstance(name, str) for name in names)
    if not texts or len(ids) < len(content) or not all(0 <= number < 1 << 16 for number in ids):
        raise DataError(f'{path} must be {_WANTED}; ids are from 0 to 65535, each once')
    members = {name: tuple(number for number in sorted(ids) if ids[number] == name) for name in [*names, None]}
    classes = [
        PointClass(name, tuple(color), members[name]) for name, color in zip(names, class_colors(len(names)).tolist())
    ]
    return CatalogEntry('folder', classes=tuple(classes), ignored_ids=members[None]).segmentation_meta()
