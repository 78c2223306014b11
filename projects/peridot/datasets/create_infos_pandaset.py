"""PandaSet as two datasets, one for each of its lidars: clouds in the vehicle's frame, labels, mmdet3d's info files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from peridot.catalog.pandaset import LIDARS, PANDAR64
from peridot.datasets.create_infos import check_writable, write_splits
from peridot.datasets.missing import IMAGE_SUFFIXES, Findings, check_missing, files_in, finite_rows, first, report
from peridot.datasets.pandaset_tables import RESTORE, columns_of, read_table
from peridot.errors import DataError
from peridot.files import write_bytes

# sequences that start north of it (San Francisco) are for training, the others (El Camino Real) for validation
BORDER_LATITUDE = 37.6
# from the vehicle's origin, about on the road, to where clouds have theirs: the road lies at -1.7 m as in nuScenes
ORIGIN_HEIGHT = 1.6
_LIDAR_COLUMNS = ['x', 'y', 'z', 'i', 'd']
_MAX_LABEL = max(PANDAR64.segmentation_meta()['seg_label_mapping'])
# as they are published, and unpacked
_TABLE_SUFFIXES = ('.pkl.gz', '.pkl')


@dataclass(frozen=True)
class Recording:
    """What is there of a sequence.

    Attributes:
        folder: Its folder; the name is its number.
        sweeps: Files of `lidar` by the frames' names.
        labels: Files of `annotations/semseg` by the frames' names.
        images: Files of each camera by the frames' names; empty without poses and intrinsics.
    """

    folder: Path
    sweeps: dict[str, str]
    labels: dict[str, str]
    images: dict[str, dict[str, str]]

    @classmethod
    def of(cls, folder: Path) -> Recording:
        """List the files of a sequence."""
        sweeps, labels = (files_in(folder / name, *_TABLE_SUFFIXES) for name in ('lidar', 'annotations/semseg'))
        images = {name: files_in(folder / 'camera' / name, '.jpg', *IMAGE_SUFFIXES) for name in PANDAR64.cameras}
        for name in images:
            if not all((folder / 'camera' / name / f'{part}.json').is_file() for part in ('poses', 'intrinsics')):
                images[name] = {}
        return cls(folder, {name: file for name, file in sweeps.items() if name.isdigit()}, labels, images)

    @property
    def frames(self) -> list[str]:
        """Names of the frames with sweep and labels."""
        return [name for name in self.sweeps if name in self.labels]

    def lacking(self) -> str | None:
        """What of a whole sequence is absent without which it cannot be used."""
        if not self.frames:
            return 'lidar/00.pkl.gz' if not self.sweeps else 'annotations/semseg'
        return next(
            (part for part in ('lidar/poses.json', 'meta/gps.json') if not (self.folder / part).is_file()), None
        )


def create_pandaset_infos(root: str | os.PathLike, missing: str = 'skip', verbose: bool = False) -> list[Path]:
    """Write clouds, labels and `{pandar64,pandargt}_infos_{train,val}.pkl` into the dataset's folder.

    For each sequence with semantic labels, lidar and frame: `{lidar}/{sequence}/{frame}.bin`, float32 x, y, z,
    intensity (0..255) in the vehicle's frame at the sweep's pose, 1.6 m above its origin, and
    `{lidar}/{sequence}/{frame}.label`, uint8 PandaSet ids. Files that exist are kept: an interrupted run goes on.
    Sequences that begin north of 37.6 degrees are for training. A split without sequences gets no info file. Points
    that are not finite are left out with their labels, as are sweeps in which a lidar has no points.

    Args:
        root: Folder with the sequences `001`, `002`, ..., or with folders of them.
        missing: 'skip' counts sequences, labels, images and points that are absent in a line each, 'error' stops;
            sequences without semantic labels are always left out.
        verbose: Show progress and the numbers of sequences.

    Returns:
        The info files.

    Raises:
        DataError: Files of a sequence are damaged or do not fit together, or no sequence can be used.
    """
    root = Path(root).resolve()
    check_missing(missing)
    recordings = _recordings(root, missing)
    check_writable(root)
    lost = Findings('points are not finite', 'unpack the sequences again, if they are not so in the archive', missing)
    empty = Findings('sweeps have no points', 'unpack the sequences again, if they have some in the archive', missing)
    infos = {entry.name: {'train': [], 'val': []} for entry in LIDARS}
    for recording in tqdm(recordings, desc='PandaSet', unit='sequence', disable=not verbose):
        split = 'train' if _latitude(recording.folder) > BORDER_LATITUDE else 'val'
        for frame, lidar, info in _convert(root, recording, lost):
            if (root / info['lidar_points']['lidar_path']).stat().st_size:
                infos[lidar][split].append({'sample_idx': f'{recording.folder.name}/{frame}', **info})
            else:
                empty.add(info['lidar_points']['lidar_path'])
    for findings in (lost, empty):
        findings.report()
    paths = []
    for entry in LIDARS:
        paths += write_splits(root, entry, infos[entry.name])
        for split, samples in infos[entry.name].items():
            if verbose and samples:
                print(f'{entry.name}, {split}: {len(samples)} sweeps')
    return paths


def _recordings(root: Path, missing: str) -> list[Recording]:
    """The sequences that can be used."""
    found: dict[str, Path] = {}
    # some copies have folders of sequences
    for above in ('*/', ''):
        found.update((path.parent.name, path.parent) for path in sorted(root.glob(f'{above}[0-9][0-9][0-9]/lidar')))
    if not found:
        raise DataError(
            f'{root} has no sequence (001/lidar, 002/lidar, ...): unpack PandaSet there, or name its folder with --root'
        )
    recordings = [Recording.of(found[name]) for name in sorted(found)]
    lacking = {recording.folder.name: recording.lacking() for recording in recordings}
    remedy = f'unpack them again into {root}'
    if None not in lacking.values():
        names = first([f'{name}/{part}' for name, part in lacking.items()])
        raise DataError(f'all {len(found)} sequences lack sweeps, labels, poses or the place ({names}): {remedy}')
    for unlabeled, what in ((True, 'have no semantic labels'), (False, 'lack files')):
        parts = {name: part for name, part in lacking.items() if part and (part == 'annotations/semseg') == unlabeled}
        if parts:
            names = first([f'{name}/{part}' for name, part in parts.items()])
            line = f'{len(parts)} of {len(found)} sequences {what} ({names})'
            report(line, remedy, 'skip' if unlabeled else missing)
    usable = [recording for recording in recordings if lacking[recording.folder.name] is None]
    _report_frames(usable, missing)
    return usable


def _report_frames(recordings: list[Recording], missing: str) -> None:
    """A line each about frames without labels and absent images."""
    sweeps = [(recording, name) for recording in recordings for name in recording.sweeps]
    unlabeled = [f'{own.folder.name}/annotations/semseg/{name}' for own, name in sweeps if name not in own.labels]
    frames = [(recording, name) for recording in recordings for name in recording.frames]
    cameras = Counter(camera for own, name in frames for camera in own.images if name not in own.images[camera])
    total = len(frames) * len(PANDAR64.cameras)
    images = [f'{camera}: {count}' for camera, count in cameras.items()]
    for line, names in (
        (f'{len(unlabeled)} of {len(sweeps)} sweeps have no semantic labels', unlabeled),
        (f'{cameras.total()} of {total} images are absent or have no pose and intrinsics', images),
    ):
        if names:
            report(f'{line} ({first(names)})', 'unpack the sequences again and run the command again', missing)


def _latitude(folder: Path) -> float:
    path = folder / 'meta' / 'gps.json'
    try:
        return float(_read_json(path)[0]['lat'])
    except (LookupError, TypeError, ValueError):
        raise DataError(f'{path} has no latitude `lat` in its first entry: {RESTORE}') from None


def _convert(root: Path, recording: Recording, lost: Findings) -> Iterator[tuple[str, str, dict]]:
    """Frame, lidar and info of every sweep of a sequence; their clouds and labels are written."""
    folder, frames = recording.folder, recording.frames
    ego = _poses(folder / 'lidar' / 'poses.json', frames)
    ego[:, :3, 3] += ORIGIN_HEIGHT * ego[:, :3, 2]
    cameras = {name: _camera(root, recording, name, ego) for name in PANDAR64.cameras}
    times = _timestamps(folder / 'lidar' / 'timestamps.json', frames)
    for number, frame in enumerate(frames):
        stems = {entry.name: f'{entry.name}/{folder.name}/{frame}' for entry in LIDARS}
        if not all((root / f'{stem}{end}').is_file() for stem in stems.values() for end in ('.bin', '.label')):
            _write_clouds(root, recording, frame, ego[number], stems, lost)
        images = {name: infos[frame] for name, infos in cameras.items() if frame in infos}
        for lidar, stem in stems.items():
            yield (
                frame,
                lidar,
                {
                    **times[number],
                    'ego2global': ego[number].tolist(),
                    'lidar_points': {'lidar_path': f'{stem}.bin', 'num_pts_feats': len(PANDAR64.columns)},
                    'pts_semantic_mask_path': f'{stem}.label',
                    'images': images,
                },
            )


def _write_clouds(
    root: Path, recording: Recording, frame: str, ego: np.ndarray, stems: dict[str, str], lost: Findings
) -> None:
    path = recording.folder / 'lidar' / recording.sweeps[frame]
    label_path = recording.folder / 'annotations' / 'semseg' / recording.labels[frame]
    table, labels = read_table(path), read_table(label_path)
    points, classes = columns_of(path, table, _LIDAR_COLUMNS), columns_of(label_path, labels, ['class'])
    # rows belong together by their numbers, in whatever order
    if not (table.index.is_unique and labels.index.is_unique and len(table) == len(labels)):
        raise DataError(f'{path} has {len(table)} points, but {label_path} labels {len(labels)}: {RESTORE}')
    order = labels.index.get_indexer(table.index)
    if (order < 0).any():
        raise DataError(f'{label_path} labels other points than those of {path}: {RESTORE}')
    classes = classes[order, 0]
    if not np.isin(classes, np.arange(_MAX_LABEL + 1)).all():
        raise DataError(f'{label_path} has classes outside 0 to {_MAX_LABEL}: {RESTORE}')
    finite = finite_rows(points, path, lost)
    points, classes = points[finite], classes[finite]
    if not np.isin(points[:, 4], (0, 1)).all():
        raise DataError(f'{path} has points of a lidar (column d) that is neither 0 nor 1: {RESTORE}')
    local = (points[:, :3] - ego[:3, 3]) @ ego[:3, :3]
    cloud = np.c_[local, points[:, 3]].astype(np.float32)
    for number, lidar in enumerate(stems):
        own = points[:, 4] == number
        write_bytes(root / f'{stems[lidar]}.label', classes[own].astype(np.uint8).tobytes())
        write_bytes(root / f'{stems[lidar]}.bin', cloud[own].tobytes())


def _camera(root: Path, recording: Recording, name: str, ego: np.ndarray) -> dict[str, dict]:
    """`images` entry of a camera for every frame that has one; `ego` (T, 4, 4) takes clouds to the world."""
    where, images = recording.folder / 'camera' / name, recording.images[name]
    rows = [number for number, frame in enumerate(recording.frames) if frame in images]
    if not rows:
        return {}
    intrinsics = _read_json(where / 'intrinsics.json')
    try:
        fx, fy, cx, cy = (float(intrinsics[key]) for key in ('fx', 'fy', 'cx', 'cy'))
    except (LookupError, TypeError, ValueError):
        raise DataError(f'{where}/intrinsics.json has no fx, fy, cx and cy: {RESTORE}') from None
    frames = [recording.frames[row] for row in rows]
    lidar2cam = np.linalg.inv(_poses(where / 'poses.json', frames)) @ ego[rows]
    return {
        frame: {
            'img_path': (where / images[frame]).relative_to(root).as_posix(),
            'cam2img': [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
            'lidar2cam': matrix.tolist(),
        }
        for frame, matrix in zip(frames, lidar2cam)
    }


def _timestamps(path: Path, frames: list[str]) -> list[dict]:
    """`timestamp` in seconds of the frames; empty if the file is absent."""
    if not path.is_file():
        return [{}] * len(frames)
    try:
        times = [{'timestamp': float(time)} for time in _read_json(path)]
    except (TypeError, ValueError):
        raise DataError(f'{path} is no list of times in seconds: {RESTORE}') from None
    return _of_frames(times, frames, path, 'times')


def _poses(path: Path, frames: list[str]) -> np.ndarray:
    """(T, 4, 4) float64 sensor or vehicle to world at the frames."""
    poses = _read_json(path)
    try:
        poses = _of_frames(list(poses), frames, path, 'poses')
        turns = Rotation.from_quat([[pose['heading'][key] for key in 'xyzw'] for pose in poses])
        places = np.array([[pose['position'][key] for key in 'xyz'] for pose in poses], np.float64)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise DataError(f'{path} is no list of poses (`heading` w, x, y, z; `position` x, y, z): {RESTORE}') from None
    matrices = np.tile(np.eye(4), (len(frames), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = turns.as_matrix(), places
    return matrices


def _of_frames(values: list, frames: list[str], path: Path, what: str) -> list:
    """The values of the frames, whose names are their rows."""
    if int(frames[-1]) >= len(values):
        raise DataError(f'{path} has {len(values)} {what}, but there is a frame {frames[-1]}: {RESTORE}')
    return [values[int(frame)] for frame in frames]


def _refuse(path: Path, word: str) -> None:
    raise DataError(f'{path} holds {word}, which is no number: {RESTORE}')


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(), parse_constant=partial(_refuse, path))
    except OSError:
        raise DataError(f'{path} is missing: {RESTORE}') from None
    except ValueError:
        raise DataError(f'{path} is not a JSON file: {RESTORE}') from None
