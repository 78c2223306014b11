"""Files made of a recording: points as peridot.LoadPoints reads them, labels, undistorted images."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from peridot.datasets.recordings.matching import Sample
from peridot.datasets.recordings.point_files import COLUMNS, keeps_bytes, read_labels, read_points
from peridot.datasets.recordings.recording import Recording
from peridot.datasets.recordings.undistort import Pinhole, Undistortion
from peridot.errors import DataError
from peridot.files import write_bytes
from peridot.maps.images import ImageSource

FOLDER = 'converted'
_JPEG_QUALITY = 95
# nanoseconds; file systems round times, exFAT to 10 ms
_CLOCK_TICK = 20_000_000


@dataclass
class Products:
    """Converted files of a recording. Files that need no conversion stay where they are.

    Attributes:
        recording: The recording.
        root: Folder of the info files.
        drop_invalid: Drop points that are not finite, and their labels.
        label_ids: Ids that `classes.json` names.
        dropped: How many points of each file converted so far were dropped.
        sizes: (height, width) of the images of each camera.
    """

    recording: Recording
    root: Path
    drop_invalid: bool = False
    label_ids: list[int] = field(default_factory=list)
    dropped: dict[Path, int] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(init=False)
    _owners: dict[tuple[str, str], str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = {name: _common_size(list(files.values())) for name, files in self.recording.images.items()}

    @cached_property
    def cameras(self) -> dict[str, Pinhole]:
        """The images that samples have."""
        models = self.recording.cameras
        lenses = {name: lens.cam2img for name, lens in self._lenses.items()}
        return {name: Pinhole(lenses.get(name, models[name].intrinsics), size) for name, size in self.sizes.items()}

    @cached_property
    def _lenses(self) -> dict[str, Undistortion]:
        path = self.recording.calibration.path
        return {
            name: Undistortion.of(camera, self.sizes[name], f'{path}: cameras.{name}')
            for name, camera in self.recording.cameras.items()
            if camera.fisheye or len(camera.distortion)
        }

    def prepare(self) -> None:
        """Remove products that other settings have made."""
        form = self.recording.calibration.points
        settings = {'points': [form.columns, str(form.row), form.intensity, form.intensity_range, form.unit]}
        settings['points'].append(self.drop_invalid)
        settings['labels'] = [self.drop_invalid, sorted(self.label_ids)]
        for name, lens in self._lenses.items():
            camera = self.recording.cameras[name]
            values = [camera.intrinsics.tolist(), camera.fisheye, camera.distortion.tolist(), self.sizes[name]]
            settings[f'images/{name}'] = [*values, lens.cam2img.tolist()]
        for name, content in settings.items():
            _keep_if_equal(self.recording.folder / FOLDER / name, json.dumps(content))

    def convert(self, sample: Sample) -> dict:
        """Make the files of a sample that do not exist yet; return its info.

        Raises:
            DataError: Points are not finite, a file is damaged, or a label has no class.
        """
        points, labels = self._scan(sample)
        images = {
            name: {
                'img_path': self._image(sample, name, image),
                'cam2img': self.cameras[name].cam2img.tolist(),
                'lidar2cam': sample.lidar2cam[name].tolist(),
            }
            for name, image in sample.images.items()
        }
        lidar2ego = self.recording.calibration.lidar2ego.tolist()
        token = f'{self.recording.name}/{sample.name}'.strip('/')
        return {
            'sample_idx': token,
            'token': token,
            **({} if sample.time is None else {'timestamp': sample.time}),
            **({} if sample.ego2global is None else {'ego2global': sample.ego2global.tolist()}),
            'lidar_points': {'lidar_path': self._relative(points), 'num_pts_feats': COLUMNS, 'lidar2ego': lidar2ego},
            'images': images,
            **({} if labels is None else {'pts_semantic_mask_path': self._relative(labels)}),
        }

    def _scan(self, sample: Sample) -> tuple[Path, Path | None]:
        """Files of a scan and of its labels, if any. Where the points stay, so may the labels."""
        form, source = self.recording.calibration.points, self.recording.labels.get(sample.name)
        target, label_target = (
            self._target('points', f'{sample.name}.bin'),
            self._target('labels', f'{sample.name}.label'),
        )
        stays = keeps_bytes(sample.scan, form) and not self.drop_invalid
        scan_change, label_change = _last_change(sample.scan), source and _last_change(source)
        kept = _is_current(target, scan_change) and (source is None or _is_current(label_target, label_change))
        if kept and not stays:
            return target, None if source is None else label_target
        points = read_points(sample.scan, form)
        valid = self._valid(sample.scan, points)
        if source is not None:
            labels = self._labels(source, len(points))
            if stays and source.suffix == '.label' and source.stat().st_size == labels.nbytes:
                label_target = self.recording.folder / 'labels' / source.name
            else:
                write_bytes(label_target, labels[valid].tobytes(), label_change)
        if stays:
            target = self.recording.folder / 'points' / sample.scan.name
        else:
            write_bytes(target, points[valid].tobytes(), scan_change)
        return target, None if source is None else label_target

    def _valid(self, scan: Path, points: np.ndarray) -> np.ndarray:
        """Bool (N,), the points to keep."""
        valid = np.isfinite(points).all(1)
        invalid = len(points) - int(np.count_nonzero(valid))
        if invalid and not self.drop_invalid:
            raise DataError(
                f'{scan} has {invalid} of {len(points)} points that are not finite: drop such points with '
                '--drop-invalid'
            )
        if invalid == len(points):
            raise DataError(f'{scan} has no point that is finite: remove the scan')
        self.dropped[scan] = invalid
        return valid

    def _labels(self, path: Path, count: int) -> np.ndarray:
        labels = read_labels(path, count)
        known = np.zeros(1 << 16, bool)
        known[self.label_ids] = True
        unknown = ~known[labels & 0xFFFF]
        if unknown.any():
            raise DataError(
                f'{path} holds the label {labels[unknown][0] & 0xFFFF}, which classes.json does not name: add it '
                'there, as null if such points have no class'
            )
        return labels

    def _image(self, sample: Sample, name: str, path: Path) -> str:
        """Path of an image below the root. The first of the samples that share it makes it."""
        if name not in self._lenses:
            return self._relative(self.recording.folder / 'images' / name / path.name)
        target = self._target(f'images/{name}', path.name)
        owner, change = self._owners.setdefault((name, path.name), sample.name), _last_change(path)
        if owner == sample.name and not _is_current(target, change):
            # like the readers of samples, which take the pixels as they are stored
            image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is None:
                raise DataError(f'image {path} is damaged: record or export it again, or remove it')
            options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix.lower() != '.png' else []
            code = cv2.imencode(path.suffix, self._lenses[name].apply(image), options)[1]
            write_bytes(target, code.tobytes(), change)
        return self._relative(target)

    def _target(self, folder: str, name: str) -> Path:
        return self.recording.folder / FOLDER / folder / name

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _common_size(files: list[Path]) -> tuple[int, int]:
    """(height, width) of all images of a camera.

    Raises:
        DataError: They differ, or one is damaged.
    """
    sizes = [ImageSource(os.fspath(path)).size() for path in files]
    for path, size in zip(files, sizes):
        if size != sizes[0]:
            (height, width), (other_height, other_width) = sizes[0], size
            raise DataError(
                f'{files[0].parent} has images of several sizes ({files[0].name}: {width}x{height}, {path.name}: '
                f'{other_width}x{other_height}): a calibration holds for one; put the others into a recording of their '
                'own'
            )
    return sizes[0] if sizes else (0, 0)


def _keep_if_equal(folder: Path, settings: str) -> None:
    """Empty a folder of products unless it was made with these settings, which `FOLDER.json` beside it holds."""
    stamp = folder.with_name(f'{folder.name}.json')
    if stamp.is_file() and stamp.read_text() == settings:
        return
    stamp.unlink(missing_ok=True)
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        # products that stay in spite of it would be taken for new ones
        shutil.rmtree(folder)
    write_bytes(stamp, settings.encode())


def _last_change(path: Path) -> int | None:
    """Time in nanoseconds, which products take over from their source; None if there is no such file."""
    return path.stat().st_mtime_ns if path.is_file() else None


def _is_current(product: Path, change: int | None) -> bool:
    """Whether a product was made of its source as it is: copies of an older file replace a newer one, too."""
    made_of = _last_change(product)
    return None not in (made_of, change) and abs(made_of - change) < _CLOCK_TICK
