"""The part of nuScenes whose files are there."""

from __future__ import annotations

import os
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


def keep_present(infos: list[dict], part: Part) -> int:
    """Take out of mmdet3d's infos what is not there, and name the files of point labels.

    Sweeps are named by their path below the dataset's folder, wherever that is.

    Args:
        infos: Changed in place: absent images lose their `img_path`, absent sweeps their entry in `lidar_sweeps`.
        part: Of the infos' scenes.

    Returns:
        Number of sweeps that are absent.

    Raises:
        DataError: Images, sweeps or labels are absent and `missing` is 'error'.
    """
    root = part.root
    images = [(name, camera) for info in infos for name, camera in info['images'].items()]
    absent = [(name, camera) for name, camera in images if f'{name}/{camera["img_path"]}' not in part.key_frames]
    if absent:
        names = first([f'{name}/{camera["img_path"]}' for name, camera in absent])
        line = f'{len(absent)} of {len(images)} images are absent from {root}/samples ({names})'
        # not everyone needs images
        strict = part.missing if len(absent) < len(images) else 'skip'
        report(line, f'unpack {_BLOBS[part.version]} over {root} and run the command again', strict)
    for _, camera in absent:
        del camera['img_path']
    _name_labels(infos, part)
    return _keep_sweeps(infos, part)


def _keep_sweeps(infos: list[dict], part: Part) -> int:
    folder = part.root / 'sweeps' / _LIDAR
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    there: dict[str, bool] = {}
    for info in infos:
        for sweep in info.get('lidar_sweeps', ()):
            path = part.tables.get('sample_data', sweep['sample_data_token'])['filename']
            sweep['lidar_points']['lidar_path'] = path
            there[path] = part.has_key_frame(path) if path.startswith('samples/') else Path(path).name in present
        if 'lidar_sweeps' in info:
            own = info['lidar_sweeps']
            info['lidar_sweeps'] = [sweep for sweep in own if there[sweep['lidar_points']['lidar_path']]]
    absent = [path for path, exists in there.items() if not exists]
    if absent:
        line = f'{len(absent)} of {len(there)} sweeps before key frames are absent from {part.root} ({first(absent)})'
        remedy = f'unpack the archives with sweeps ({_BLOBS[part.version]}) over {part.root}'
        report(line, f'{remedy} and run the command again', part.missing)
    return len(absent)


def _name_labels(infos: list[dict], part: Part) -> None:
    """Give the infos whose label file is there `pts_semantic_mask_path`."""
    archive, version, root = _LABELS.get(part.version), part.version, part.root
    if archive is None:
        return
    table = root / version / 'lidarseg.json'
    names = {}
    if table.is_file():
        names = {row['sample_data_token']: Path(row['filename']).name for row in read_table(table, archive)}
    folder = root / 'lidarseg' / version
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    labeled = 0
    for info in infos:
        name = names.get(part.tables.get('sample', info['token'])['data'][_LIDAR])
        if name in present:
            info['pts_semantic_mask_path'] = name
            labeled += 1
    if labeled < len(infos):
        reason = f'{folder} lacks files' if table.is_file() else f'{table} is missing'
        if (folder.parent / 'lidarseg').is_dir():
            reason = f'{folder.parent}/lidarseg is a folder too deep'
        line = f'{len(infos) - labeled} of {len(infos)} samples have no point labels ({reason})'
        remedy = f'unpack {archive}, which holds lidarseg/ and {version}/, over {root} and run the command again'
        # not everyone needs labels
        report(line, remedy, part.missing if labeled else 'skip')
