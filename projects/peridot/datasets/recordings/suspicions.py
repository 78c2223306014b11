"""What in a recording is probably a mistake, in one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from peridot.datasets.recordings.calibration import UNITS
from peridot.datasets.recordings.matching import Sample
from peridot.datasets.recordings.recording import Recording
from peridot.datasets.recordings.tables import Poses
from peridot.datasets.recordings.undistort import Pinhole, inversion_error

# median distance of points in meters that a lidar on a vehicle gives
_DISTANCES = (0.5, 300.0)
_FASTEST = 100.0  # of a vehicle, m/s
_FARTHEST_CAMERA = 10.0  # from the lidar, meters
_SMALLEST_DRIFT = 10.0  # of a clock, ms
_FEWEST_TIMES = 30  # that show a drift
# angle of a vehicle or camera that does not stand upright, degrees
LYING = 60.0


def offsets_of(samples: Sequence[Sample], name: str) -> np.ndarray:
    """Seconds from each scan to its image of a camera, where both times are known."""
    return np.array([sample.offsets[name] for sample in samples if name in sample.offsets])


def about_cameras(recording: Recording, cameras: Mapping[str, Pinhole]) -> Iterator[str]:
    """Warnings about the places, intrinsics and lenses of cameras."""
    for name, camera in cameras.items():
        model = recording.cameras[name]
        distance = np.linalg.norm(model.lidar2cam[:3, 3])
        if distance > _FARTHEST_CAMERA:
            yield f'{recording.title}: {name} is {distance:.1f} m from the lidar: transforms are in meters'
        center = model.intrinsics[:2, 2] / camera.size[::-1]
        if abs(center - 0.5).max() > 0.25:
            yield (
                f'{recording.title}: the principal point of {name} lies at {100 * center[0]:.0f} % of the width and '
                f'{100 * center[1]:.0f} % of the height: the intrinsics seem to belong to images of another size'
            )
        if (model.fisheye or len(model.distortion)) and (error := inversion_error(model, camera)) > 1:
            yield (
                f'{recording.title}: the distortion of {name} does not invert at the border of the image (off by '
                f'{error:.0f} pixels): check the coefficients and distortion_model'
            )


def about_points(recording: Recording, scans: Sequence[np.ndarray]) -> Iterator[str]:
    """Warnings about the unit, frame and intensity of the points of some scans (N, 4)."""
    centers = np.array([np.median(points[:, :3], 0) for points in scans if len(points)])
    xyz = np.concatenate([points[:, :3] for points in scans])
    distance = float(np.median(np.linalg.norm(xyz, axis=1)))
    spread = float(np.median(np.linalg.norm(xyz - np.median(xyz, 0), axis=1)))
    form = recording.calibration.points
    if distance > _DISTANCES[1] and _DISTANCES[0] < spread < _DISTANCES[1] / 2:
        place = ', '.join(f'{value:.0f}' for value in np.median(xyz, 0))
        yield (
            f'{recording.title}: the points lie around ({place}) m: they seem to be in a world frame; transform them '
            'into that of the lidar'
        )
    elif not _DISTANCES[0] < distance < _DISTANCES[1]:
        fits = [name for name, unit in UNITS.items() if _DISTANCES[0] < distance / form.unit * unit < _DISTANCES[1]]
        yield (
            f'{recording.title}: the median distance of the points is {distance:.3f} m: '
            + (f'the unit seems to be {" or ".join(fits)} (lidar.unit)' if fits else 'check their unit and frame')
        )
    elif (path := np.linalg.norm(centers[-1] - centers[0])) > 50:
        yield (
            f'{recording.title}: the points move by {path:.0f} m from the first to the last scan: they seem to be in a '
            'fixed frame; transform them into that of the lidar'
        )
    if form.intensity:
        yield from _about_intensity(recording, np.concatenate([points[:, 3] for points in scans]))


def _about_intensity(recording: Recording, values: np.ndarray) -> Iterator[str]:
    low, high = recording.calibration.points.intensity_range
    outside = ((values < 0) | (values > 1)).mean()
    least, largest = (low + value * (high - low) for value in (values.min(), values.max()))
    declared = f'{recording.calibration.path} declares {low:g} to {high:g} (lidar.intensity_range)'
    if outside:
        yield (
            f'{recording.title}: {100 * outside:.2g} % of the intensities are outside their range ({least:.4g} to '
            f'{largest:.4g}): {declared}'
        )
    elif values.max() < 0.1:
        yield f'{recording.title}: the largest intensity is {largest:.4g}: {declared}'


def about_clocks(recording: Recording) -> Iterator[str]:
    """Warnings about clocks that drift apart, by cameras with an image of each scan's name.

    The time from a scan to the nearest image says nothing: of a camera that runs freely it rises and falls by up to
    half the time between images whatever the clocks do.
    """
    times = recording.times
    for name, images in recording.images.items():
        pairs = [(times.get(scan), times.get(images.get(key))) for key, scan in recording.scans.items()]
        if len(pairs) < _FEWEST_TIMES or len(images) != len(pairs) or any(None in pair for pair in pairs):
            continue
        scan_times, image_times = 1000 * np.array(sorted(pairs)).T
        offsets = np.array([np.median(part) for part in np.array_split(image_times - scan_times, 10)])
        steps = np.diff(offsets)
        steady = ((steps > 0).all() or (steps < 0).all()) and abs(offsets[-1] - offsets[0]) > _SMALLEST_DRIFT
        if steady and abs(offsets).max() > np.median(np.diff(scan_times)) / 2:
            yield (
                f'{recording.title}: the clock of {name} seems to drift from {offsets[0]:+.0f} to {offsets[-1]:+.0f} '
                "ms against that of the lidar, by images of the scans' names: synchronize them, or correct its times"
            )


def about_poses(recording: Recording) -> Iterator[str]:
    """Warnings about the poses of the vehicle."""
    poses = recording.poses
    if not isinstance(poses, Poses) or len(poses.times) < 2:
        return
    steps = np.linalg.norm(np.diff(poses.places, axis=0), axis=1) / np.diff(poses.times)
    speed = float(np.median(steps))
    if speed > _FASTEST:
        yield f'{recording.title}: the poses move at {speed:.0f} m/s: x, y and z are in meters, times in seconds'
    quaternions = poses.turns.as_quat()
    lying, standing = (_lying(Rotation.from_quat(quaternions[:, order])) for order in ([0, 1, 2, 3], [1, 2, 3, 0]))
    if lying > 0.5 and standing < 0.1:
        yield (
            f'{recording.title}: the vehicle lies on its side or roof in {100 * lying:.0f} % of the poses, but stands '
            'if their quaternions are qw, qx, qy, qz: check the columns of poses.csv'
        )


def _lying(turns: Rotation) -> float:
    """Fraction of poses whose vertical axis is far from the world's."""
    return float((turns.as_matrix()[:, 2, 2] < np.cos(np.radians(LYING))).mean())
