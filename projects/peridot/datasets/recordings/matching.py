"""Samples of a recording: a scan with the nearest image of each camera, and the motion between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peridot.datasets.recordings.recording import Recording
from peridot.datasets.recordings.tables import MAX_GAP, POSES, TIMESTAMPS
from peridot.errors import DataError


@dataclass(frozen=True)
class Sample:
    """A scan with one image of each camera.

    Attributes:
        name: Name of the scan.
        scan: Its file.
        images: File of each camera.
        time: Seconds of the scan, if known.
        offsets: Seconds from the scan to the image of each camera, where both times are known.
        ego2global: Float64 (4, 4), at the scan's time; None without poses.
        lidar2cam: Float64 (4, 4) of each camera, from the lidar at the scan's time to the camera at the image's time;
            without poses by time as if the vehicle stood.
    """

    name: str
    scan: Path
    images: Mapping[str, Path]
    time: float | None
    offsets: Mapping[str, float]
    ego2global: np.ndarray | None
    lidar2cam: Mapping[str, np.ndarray]


def match(recording: Recording, tolerance: float) -> tuple[list[Sample], list[str]]:
    """Find the samples of a recording, ordered by time (by name where the scans have none).

    A camera whose images have times is matched by the nearest time, otherwise by name. Scans without an image of some
    camera, or without a pose, are left out.

    Args:
        recording: The recording.
        tolerance: Longest time in seconds between a scan and an image of it.

    Returns:
        The samples, and a line each about scans that lack something and are left out.

    Raises:
        DataError: No scan has an image of every camera.
    """
    names = sorted(recording.scans, key=lambda name: (recording.times.get(recording.scans[name], 0.0), name))
    found, notes = {}, []
    for camera in recording.cameras:
        found[camera] = _images_of(recording, camera, names, tolerance)
        missing = [name for name in names if name not in found[camera]]
        if len(missing) == len(names):
            raise DataError(_nothing_matches(recording, camera, names, tolerance))
        if missing:
            how = f'within {tolerance:g} s' if _by_time(recording, camera) else 'of the same name'
            notes.append(
                f'{recording.title}: {len(missing)} of {len(names)} scans have no image of {camera} {how} '
                f'({missing[0]}, ...)'
            )
    complete = [name for name in names if all(name in images for images in found.values())]
    if not complete:
        raise DataError(
            f'{recording.folder}: no scan has an image of every camera: set a camera to null, or --tolerance'
        )
    samples = [
        _sample(recording, name, {camera: images[name] for camera, images in found.items()}) for name in complete
    ]
    return _with_poses(recording, samples, notes), notes


def _by_time(recording: Recording, camera: str) -> bool:
    sensors = (recording.scans, recording.images[camera])
    return all(next(iter(files.values()), None) in recording.times for files in sensors)


def _images_of(recording: Recording, camera: str, names: Sequence[str], tolerance: float) -> dict[str, Path]:
    """Image of each scan that has one."""
    images = recording.images[camera]
    if not _by_time(recording, camera):
        return {name: images[name] for name in names if name in images}
    files = sorted(images.values(), key=recording.times.get)
    times = np.array([recording.times[file] for file in files])
    wanted = np.array([recording.times[recording.scans[name]] for name in names])
    rows = nearest_rows(times, wanted)
    near = abs(times[rows] - wanted) <= tolerance
    return {name: files[row] for name, row, fits in zip(names, rows, near) if fits}


def nearest_rows(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of the time that is nearest to each wanted one, int64 (W,); the earlier of two that are equally near.

    Args:
        times: Numbers (T,), T >= 1, in ascending order.
        wanted: Numbers (W,).
    """
    after = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(abs(times[before] - wanted) <= abs(times[after] - wanted), before, after)


def _nothing_matches(recording: Recording, camera: str, names: Sequence[str], tolerance: float) -> str:
    images = recording.images[camera]
    if not images:
        return f'{recording.folder}/images/{camera} has no image: put them there, or set cameras.{camera} to null'
    if not _by_time(recording, camera):
        return (
            f'{recording.folder}: no image of {camera} has the name of a scan (scan {names[0]}, image '
            f'{next(iter(images))}): name them alike, or write the times of both to {TIMESTAMPS}'
        )
    seconds = [sorted(recording.times[file] for file in files.values()) for files in (recording.scans, images)]
    (first, last), (image_first, image_last) = ((times[0], times[-1]) for times in seconds)
    return (
        f'{recording.folder}: no image of {camera} lies within {tolerance:g} s of a scan (scans from {first:.3f} to '
        f'{last:.3f} s, images from {image_first:.3f} to {image_last:.3f} s): bring the clocks together in '
        f'{TIMESTAMPS}, or set --tolerance'
    )


def _sample(recording: Recording, name: str, images: Mapping[str, Path]) -> Sample:
    scan = recording.scans[name]
    time = recording.times.get(scan)
    known = {camera: recording.times[image] for camera, image in images.items() if image in recording.times}
    offsets = {} if time is None else {camera: other - time for camera, other in known.items()}
    lidar2cam = {camera: model.lidar2cam for camera, model in recording.cameras.items()}
    pose = recording.poses.get(name) if isinstance(recording.poses, dict) else None
    return Sample(name, scan, images, time, offsets, pose, lidar2cam)


def _with_poses(recording: Recording, samples: list[Sample], notes: list[str]) -> list[Sample]:
    """The samples that have poses, with the motion between scan and images."""
    poses = recording.poses
    if poses is None:
        return samples
    if isinstance(poses, dict):
        kept = [sample for sample in samples if sample.ego2global is not None]
    else:
        # images without times count as taken with the scan
        times = np.array([[s.time, *(s.time + s.offsets.get(c, 0.0) for c in recording.cameras)] for s in samples])
        covered = poses.cover(times.ravel()).reshape(times.shape).all(1)
        kept = [_moved(recording, samples[row], poses.at(times[row])) for row in np.flatnonzero(covered)]
    if not kept:
        raise DataError(
            f'{recording.folder}/{POSES} has no poses around the scans (of {samples[0].name}, ...): correct its times '
            'or names, or rename it to do without poses'
        )
    if len(kept) < len(samples):
        how = 'of their name' if isinstance(poses, dict) else f'around them within {MAX_GAP:g} s'
        notes.append(f'{recording.title}: {len(samples) - len(kept)} of {len(samples)} scans have no pose {how}')
    return kept


def _moved(recording: Recording, sample: Sample, poses: np.ndarray) -> Sample:
    """A sample with poses (1 + V, 4, 4) of the vehicle at the times of the scan and of each camera's image."""
    lidar2ego = recording.calibration.lidar2ego
    lidar2global = poses[0] @ lidar2ego
    lidar2cam = {
        # from the lidar to the world, and back to where the lidar is at the image's time
        camera: matrix @ np.linalg.inv(pose @ lidar2ego) @ lidar2global if sample.offsets.get(camera) else matrix
        for (camera, matrix), pose in zip(sample.lidar2cam.items(), poses[1:])
    }
    return Sample(sample.name, sample.scan, sample.images, sample.time, sample.offsets, poses[0], lidar2cam)
