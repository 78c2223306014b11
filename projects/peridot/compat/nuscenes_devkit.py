"""nuScenes' devkit opens and evaluates whole datasets only.

Broken: `NuScenes` asserts that every file of the maps and lidar labels is there, and `NuScenesMetric` that the samples
are those of an official split, named by the dataset's class, not by the info file: AssertionError after the training
with a part of the archives, a half unpacked archive of lidarseg, or v1.0-mini.
Versions: nuscenes-devkit 1.0 to 1.2, mmdet3d 1.1 to 1.4.
Detected: always.
Repair: the metric opens the tables alone, of the scenes and the version of its info file.
Delete when: mmdet3d evaluates the samples of an info file.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from peridot.errors import DataError

from .records import note

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

_TABLES = ('category', 'attribute', 'visibility', 'instance', 'sensor', 'calibrated_sensor', 'ego_pose', 'log')
_TABLES += ('scene', 'sample', 'sample_data', 'sample_annotation', 'map')
Rows = dict[str, list[dict]]


def read_tables(root: str | os.PathLike, version: str) -> Rows:
    """All tables of a version by their names.

    Raises:
        DataError: One is missing or damaged.
    """
    return {name: read_table(Path(root) / version / f'{name}.json') for name in _TABLES}


def read_table(path: Path, archive: str | None = None) -> list[dict]:
    """A table of nuScenes.

    Args:
        path: Its file.
        archive: That which holds it, if it is not the version's metadata.

    Raises:
        DataError: It is missing or damaged.
    """
    version = path.parent.name
    archive = archive or ('v1.0-mini.tgz' if version == 'v1.0-mini' else f'{version}_meta.tgz')
    try:
        return json.loads(path.read_text(), parse_constant=_refuse)
    except (OSError, ValueError, FloatingPointError) as error:
        if version == 'v1.0-test' and path.name == 'sample_annotation.json':
            return []
        kinds = {FileNotFoundError: 'is missing', FloatingPointError: f'holds {error}, which is no number'}
        reason = kinds.get(type(error), 'cannot be read')
        raise DataError(
            f'{path} {reason}: unpack {archive} over {path.parent.parent}, or name the folder with --root'
        ) from None


def _refuse(word: str) -> None:
    """Nothing of the tables may be NaN or infinite, which JSON does not know, but Python writes and reads."""
    raise FloatingPointError(word)


def rows_of_samples(rows: Rows, samples: Collection[str]) -> Rows:
    """The tables of the scenes that hold some samples.

    Args:
        rows: All tables.
        samples: Tokens.
    """
    scenes = {row['scene_token'] for row in rows['sample'] if row['token'] in samples}
    kept = {row['token'] for row in rows['sample'] if row['scene_token'] in scenes}
    parts = {name: [row for row in rows[name] if row['sample_token'] in kept] for name in _TABLES[-3:-1]}
    parts['scene'] = [row for row in rows['scene'] if row['token'] in scenes]
    parts['sample'] = [row for row in rows['sample'] if row['token'] in kept]
    return {**rows, **parts}


def open_tables(root: str | os.PathLike, version: str, rows: Rows) -> NuScenes:
    """The devkit's object of some tables; it knows neither maps nor lidar labels.

    Args:
        root: Folder of the dataset.
        version: Name of the tables' folder.
        rows: The tables.
    """
    from nuscenes.nuscenes import NuScenes

    class Tables(NuScenes):
        """The tables of `rows`."""

        # no tables of lidar labels lie there
        table_root = os.devnull

        def __load_table__(self, table_name: str) -> list[dict]:
            # the files of the maps need not be there
            return [{**row, 'filename': ''} for row in rows['map']] if table_name == 'map' else rows[table_name]

    return Tables(version, str(root), verbose=False)


def repair(module: ModuleType) -> None:
    """Repair the metric of mmdet3d.evaluation.metrics.nuscenes_metric."""
    metric = module.NuScenesMetric
    original = metric._evaluate_single

    @functools.wraps(original)
    def evaluate(self, *args, **kwargs) -> dict:
        """Evaluate as upstream does, with the tables of the info file's scenes."""
        import nuscenes

        content = module.load(self.ann_file, backend_args=self.backend_args)
        self.version = content['metainfo'].get('version', self.version)
        samples = {info['token'] for info in content['data_list']}
        tables = open_tables(
            self.data_root, self.version, rows_of_samples(read_tables(self.data_root, self.version), samples)
        )
        whole, nuscenes.NuScenes = nuscenes.NuScenes, lambda **_: tables
        try:
            return original(self, *args, **kwargs)
        except AssertionError as error:
            raise DataError(
                f'nuScenes cannot evaluate {self.ann_file} ({error}): predict all of its samples (no `indices`), and '
                'let them be those of official validation scenes'
            ) from error
        finally:
            nuscenes.NuScenes = whole

    metric._evaluate_single = evaluate
    note('nuscenes_devkit', 'NuScenesMetric evaluates the scenes of its info file')
