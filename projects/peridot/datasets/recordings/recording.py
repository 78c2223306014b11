"""Folders of recordings: their files, and which images belong to which scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peridot.datasets.recordings.calibration import CALIBRATION, Calibration, CameraModel, read_calibration
from peridot.datasets.recordings.point_files import LABEL_SUFFIXES, POINT_SUFFIXES
from peridot.datasets.recordings.tables import POSES, TIMESTAMPS, Poses, read_poses, read_timestamps
from peridot.errors import DataError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


@dataclass(frozen=True)
class Recording:
    """One drive with one calibration.

    Attributes:
        folder: Where it lies.
        name: The folder's name below the root, empty if the root itself is the recording.
        calibration: Of its lidar and cameras.
        cameras: The cameras that are used, by name.
        scans: Point files by name, the file's name without suffix.
        images: Images of each camera by name.
        labels: Label files of the scans by name; empty without labels.
        times: Seconds by file, for those that `timestamps.csv` lists.
        poses: By time; or ego to world (4, 4) by scan; None without `poses.csv`.
    """

    folder: Path
    name: str
    calibration: Calibration
    cameras: Mapping[str, CameraModel]
    scans: Mapping[str, Path]
    images: Mapping[str, Mapping[str, Path]]
    labels: Mapping[str, Path]
    times: Mapping[Path, float]
    poses: Poses | Mapping[str, np.ndarray] | None

    @property
    def title(self) -> str:
        """Name for readers."""
        return self.name or self.folder.name


def find_recordings(root: Path) -> list[Recording]:
    """Recordings of a folder: itself, or the folders in it that have a `points` or a calibration.

    Raises:
        DataError: There are none, or one of them lacks a file; see the readers of its files.
    """
    if _is_recording(root):
        return [_open(root, '')]
    folders = sorted(path for path in root.iterdir() if _is_recording(path)) if root.is_dir() else []
    if not folders:
        raise DataError(
            f'{root} has neither points/ and {CALIBRATION} nor folders with them: put the recording there, or name its '
            'folder with --root (docs/own_recording.md)'
        )
    return [_open(folder, folder.name) for folder in folders]


def _is_recording(folder: Path) -> bool:
    return (folder / 'points').is_dir() or (folder / CALIBRATION).is_file()


def _open(folder: Path, name: str) -> Recording:
    calibration = read_calibration(folder / CALIBRATION)
    scans = _files(folder / 'points', POINT_SUFFIXES)
    if not scans:
        raise DataError(
            f'{folder}/points has no file {", ".join("*" + end for end in POINT_SUFFIXES)}: put the scans there'
        )
    images = {camera: _files(folder / 'images' / camera, IMAGE_SUFFIXES) for camera in _cameras(folder, calibration)}
    labels = _files(folder / 'labels', LABEL_SUFFIXES)
    unlabeled = sorted(set(scans) - set(labels))
    if labels and unlabeled:
        raise DataError(
            f'{folder}/labels has no file for {len(unlabeled)} of {len(scans)} scans ({unlabeled[0]}, ...): label all, '
            'or rename the folder to do without labels'
        )
    by_file = read_timestamps(folder / TIMESTAMPS)
    times = _times(
        folder, {'points': scans, **{f'images/{camera}': files for camera, files in images.items()}}, by_file
    )
    scan_times = {stem: times[path] for stem, path in scans.items() if path in times}
    poses = read_poses(folder / POSES, scan_times)
    cameras = {camera: calibration.cameras[camera] for camera in images}
    return Recording(folder, name, calibration, cameras, scans, images, labels, times, poses)


def _files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files with one of the suffixes by their name without it, ordered; a name may stand once only."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in suffixes and not path.name.startswith('.'):
            first = files.setdefault(path.stem, path)
            if first != path:
                raise DataError(f'{first} and {path.name} have the same name: remove one of them')
    return files


def _cameras(folder: Path, calibration: Calibration) -> list[str]:
    """Cameras with a calibration; each must have a folder of images, and each such folder a calibration."""
    found = (
        sorted(path.name for path in (folder / 'images').iterdir() if path.is_dir())
        if (folder / 'images').is_dir()
        else []
    )
    for name in found:
        if name not in calibration.cameras:
            raise DataError(
                f'{folder}/images/{name} has no calibration: add cameras.{name} to {calibration.path}, as null to do '
                'without the camera'
            )
    names = [name for name, camera in calibration.cameras.items() if camera is not None]
    for name in names:
        if name not in found:
            raise DataError(
                f'{calibration.path} has a camera {name}, but {folder}/images/{name} is missing: put its images there, '
                f'or set cameras.{name} to null'
            )
    return names


def _times(folder: Path, files: Mapping[str, Mapping[str, Path]], by_file: Mapping[str, float]) -> dict[Path, float]:
    """Seconds by file; a sensor has times for all of its files or for none."""
    times = {}
    for sensor, paths in files.items():
        known = {path: by_file[name] for path in paths.values() if (name := f'{sensor}/{path.name}') in by_file}
        without = [path.name for path in paths.values() if path not in known]
        if known and without:
            raise DataError(
                f'{folder}/{TIMESTAMPS} has no time of {len(without)} of {len(paths)} files of {sensor} ({without[0]}, '
                '...): add them'
            )
        times.update(known)
    if by_file and not times:
        raise DataError(
            f'{folder}/{TIMESTAMPS} lists {next(iter(by_file))}, but none of the files of points/ and images/: write '
            'paths below the recording, e.g. points/000000.bin'
        )
    return times
