"""The part of nuScenes whose files are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from peridot.compat.nuscenes_devkit import Rows, open_tables, read_table, read_tables, rows_of_samples
from peridot.datasets.missing import first, report

if TYPE_CHECKING:
    from nuscenes.nuscenes import NuScenes

_LIDAR = 'LIDAR_TOP'
_BLOBS = {
    'v1.0-mini': 'v1.0-mini.tgz',
    'v1.0-trainval': 'v1.0-trainval01_blobs.tgz to v1.0-trainval10_blobs.tgz',
    'v1.0-test': 'v1.0-test_blobs.tgz',
}
_LABELS = {'v1.0-mini': 'nuScenes-lidarseg-mini-v1.0.tar.bz2', 'v1.0-trainval': 'nuScenes-lidarseg-all-v1.0.tar.bz2'}


@dataclass(frozen=True)
class Part:
    """Scenes of nuScenes that have all their lidar key frames.

    Attributes:
        root: Folder with `samples/` and the tables' folder.
        version: Name of the tables' folder.
        missing: See `report`.
    """

    root: Path
    version: str
    missing: str = 'skip'

    @cached_property
    def key_frames(self) -> set[str]:
        """`<channel>/<file>` of the key frames that are there."""
        folders = [folder for folder in (self.root / 'samples').iterdir() if folder.is_dir()]
        return {f'{folder.name}/{name}' for folder in folders for name in os.listdir(folder)}

    def has_key_frame(self, filename: str) -> bool:
        """Whether a key frame's file, `samples/<channel>/<file>`, is there."""
        return filename.removeprefix('samples/') in self.key_frames

    def has_sweep(self, filename: str) -> bool:
        """Whether a sweep's file, `samples/<channel>/<file>` or `sweeps/<channel>/<file>`, is there."""
        return self.has_key_frame(filename) if filename.startswith('samples/') else Path(filename).name in self._sweeps

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names of the files of point labels that are there, by the tokens of their samples.

        Raises:
            DataError: Their table is damaged.
        """
        table = self.root / self.version / 'lidarseg.json'
        if self.version not in _LABELS or not table.is_file():
            return {}
        rows = read_table(table, _LABELS[self.version])
        names = {row['sample_data_token']: Path(row['filename']).name for row in rows}
        present = _names_in(self.root / 'lidarseg' / self.version)
        labels = {sample['token']: names.get(sample['data'][_LIDAR]) for sample in self.tables.sample}
        return {token: name for token, name in labels.items() if name in present}

    def sweep_files(self, sample: dict, count: int) -> Iterator[str]:
        """Files of up to `count` sweeps before a row of the table of samples, the latest first."""
        token = sample['data'][_LIDAR]
        for _ in range(count):
            token = self.tables.get('sample_data', token)['prev']
            if not token:
                return
            yield self.tables.get('sample_data', token)['filename']

    @cached_property
    def _sweeps(self) -> set[str]:
        return _names_in(self.root / 'sweeps' / _LIDAR)

    @cached_property
    def tables(self) -> NuScenes:
        """The tables of these scenes.

        Raises:
            DataError: A table is missing or damaged, no scene is complete, or `missing` is 'error' and one is not.
        """
        return open_tables(self.root, self.version, self._complete(read_tables(self.root, self.version)))

    def _complete(self, rows: Rows) -> Rows:
        """The tables without the scenes that lack a key frame of the lidar."""
        present = {
            row['sample_token']
            for row in rows['sample_data']
            if row['is_key_frame'] and f'/{_LIDAR}/' in row['filename'] and self.has_key_frame(row['filename'])
        }
        lacking = {row['scene_token'] for row in rows['sample'] if row['token'] not in present}
        names = [row['name'] for row in rows['scene'] if row['token'] in lacking]
        if names:
            line = f'{len(names)} of {len(rows["scene"])} scenes of {self.version} lack key frames of {_LIDAR}'
            remedy = f'unpack {_BLOBS[self.version]} over {self.root} and run the command again to use them'
            report(f'{line} ({first(names)})', remedy, self.missing if len(names) < len(rows['scene']) else 'error')
        return rows_of_samples(rows, {row['token'] for row in rows['sample'] if row['scene_token'] not in lacking})


def report_absent(part: Part, max_sweeps: int) -> None:
    """Say in a line each which images, sweeps and labels of the part's samples are absent.

    Args:
        part: The part.
        max_sweeps: Earlier sweeps of a sample.

    Raises:
        DataError: Some are, and `missing` is 'error', or the table of labels is damaged.
    """
    root, samples, archive = part.root, part.tables.sample, _BLOBS[part.version]
    remedy = f'unpack {archive} over {root} and run the command again'
    tokens = [token for sample in samples for name, token in sample['data'].items() if name.startswith('CAM_')]
    images = [part.tables.get('sample_data', token)['filename'] for token in tokens]
    absent = [path for path in images if not part.has_key_frame(path)]
    if absent:
        line = f'{len(absent)} of {len(images)} images are absent from {root}/samples ({first(absent)})'
        # not everyone needs images
        report(line, remedy, part.missing if len(absent) < len(images) else 'skip')
    _report_labels(part)
    sweeps = dict.fromkeys(path for sample in samples for path in part.sweep_files(sample, max_sweeps))
    absent = [path for path in sweeps if not part.has_sweep(path)]
    if absent:
        line = f'{len(absent)} of {len(sweeps)} sweeps before key frames are absent from {root} ({first(absent)})'
        report(line, remedy.replace(archive, f'the archives with sweeps ({archive})'), part.missing)


def _report_labels(part: Part) -> None:
    archive, version, root, count = _LABELS.get(part.version), part.version, part.root, len(part.tables.sample)
    if archive is None or len(part.labels) == count:
        return
    table, folder = root / version / 'lidarseg.json', root / 'lidarseg' / version
    reason = f'{folder} lacks files' if table.is_file() else f'{table} is missing'
    if (folder.parent / 'lidarseg').is_dir():
        reason = f'{folder.parent}/lidarseg is a folder too deep'
    line = f'{count - len(part.labels)} of {count} samples have no point labels ({reason})'
    remedy = f'unpack {archive}, which holds lidarseg/ and {version}/, over {root} and run the command again'
    # not everyone needs labels
    report(line, remedy, part.missing if part.labels else 'skip')


def keep_present(infos: list[dict], part: Part) -> int:
    """Take out of mmdet3d's infos what is not there, and name the files of point labels.

    Sweeps are named by their path below the dataset's folder, wherever that is.

    Args:
        infos: Changed in place: absent images lose their `img_path`, absent sweeps their entry in `lidar_sweeps`.
        part: Of the infos' scenes.

    Returns:
        Number of sweeps that are absent.
    """
    absent = set()
    for info in infos:
        for name, camera in info['images'].items():
            if not part.has_key_frame(f'{name}/{camera["img_path"]}'):
                del camera['img_path']
        if info['token'] in part.labels:
            info['pts_semantic_mask_path'] = part.labels[info['token']]
        if 'lidar_sweeps' in info:
            kept = []
            for sweep in info['lidar_sweeps']:
                path = part.tables.get('sample_data', sweep['sample_data_token'])['filename']
                sweep['lidar_points']['lidar_path'] = path
                if part.has_sweep(path):
                    kept.append(sweep)
                else:
                    absent.add(path)
            info['lidar_sweeps'] = kept
    return len(absent)


def _names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
