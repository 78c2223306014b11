"""Numbers of a recording that show a wrong calibration, unit or clock, and warnings about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from peridot.datasets.projection import project_to_cameras
from peridot.datasets.recordings.calibration import UNITS
from peridot.datasets.recordings.matching import Sample
from peridot.datasets.recordings.point_files import read_points
from peridot.datasets.recordings.recording import Recording
from peridot.datasets.recordings.tables import Poses
from peridot.datasets.recordings.undistort import inversion_error
from peridot.errors import DataError

# scans of a recording that are looked at
_SCANS = 5
# median distance of points in meters that a lidar on a vehicle gives
_DISTANCES = (0.5, 300.0)
_FASTEST = 100.0  # of a vehicle, m/s
_FARTHEST_CAMERA = 10.0  # from the lidar, meters
_FEW = 0.01  # fraction of the points
# angles of a camera or vehicle that stands upright or not, degrees
_UPRIGHT, _LYING = 30.0, 60.0


@dataclass(frozen=True)
class Pinhole:
    """Images of a camera as samples have them.

    Attributes:
        cam2img: Float64 (3, 3).
        size: (height, width) in pixels.
    """

    cam2img: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class View:
    """A pose of a camera, and what it would see.

    Attributes:
        fraction: Mean fraction of the points of a scan that lie in its image.
        tilt: Degrees between the camera's and the vehicle's vertical axis.
    """

    fraction: float
    tilt: float

    def is_better(self, other: View) -> bool:
        """Whether this pose is so much more likely that the other one is probably wrong."""
        stands, falls = (a.tilt < _UPRIGHT and b.tilt > _LYING for a, b in ((self, other), (other, self)))
        if stands and self.fraction > max(0.5 * other.fraction, _FEW):
            return True
        return not falls and self.fraction > 2 * other.fraction + 0.005


@dataclass(frozen=True)
class Finding:
    """What a recording's numbers say.

    Attributes:
        rows: A row of the table for each camera: name, images, size, fraction of points, tilt, time from the scan.
        warnings: One line each.
    """

    rows: list[tuple[str, ...]]
    warnings: list[str]


HEAD = ('recording', 'camera', 'images', 'size', 'points in the image', 'tilt', 'time from the scan')


def check(recording: Recording, samples: Sequence[Sample], cameras: Mapping[str, Pinhole]) -> Finding:
    """Look at a few scans of a recording.

    Args:
        recording: The recording.
        samples: Its samples, at least one.
        cameras: Images of each camera.

    Returns:
        The table's rows, and warnings.

    Raises:
        DataError: No point of any scan lies in any image.
    """
    chosen = [samples[row] for row in np.unique(np.linspace(0, len(samples) - 1, _SCANS).round().astype(int))]
    scans = [_finite(read_points(sample.scan, recording.calibration.points)) for sample in chosen]
    views = {name: _view(recording, name, chosen, scans, cameras[name], None) for name in cameras}
    rows = [
        (
            recording.title,
            name,
            str(len(recording.images[name])),
            '{1}x{0}'.format(*cameras[name].size),
            f'{100 * view.fraction:.1f} %',
            f'{view.tilt:.0f} deg',
            _offset_text(samples, name),
        )
        for name, view in views.items()
    ]
    other = _other_pose(recording, chosen, scans, cameras, views)
    about_points = list(_about_points(recording, scans))
    if cameras and not any(view.fraction for view in views.values()):
        hints = [*([f'{recording.title}: {other}'] if other else []), *about_points]
        hint = hints[0].partition(': ')[2] if hints else 'check lidar2cam, the intrinsics, and the unit of the points'
        raise DataError(f'{recording.calibration.path}: no point of {recording.title} lies in any image: {hint}')
    warnings = [
        *([f'{recording.title}: {other}'] if other else []),
        *(_few_points(recording, name, view) for name, view in views.items() if view.fraction < _FEW),
        *_about_cameras(recording, cameras),
        *about_points,
        *_about_clocks(recording, samples),
        *_about_poses(recording),
    ]
    return Finding(rows, warnings)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows below `HEAD` with columns of equal width."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _finite(points: np.ndarray) -> np.ndarray:
    return points[np.isfinite(points).all(1)]


def _view(recording: Recording, name: str, samples: list[Sample], scans: list, camera: Pinhole, pose) -> View:
    """What a camera sees with its own pose, or with another one (4, 4)."""
    fractions = []
    for sample, points in zip(samples, scans):
        matrix = sample.lidar2cam[name] if pose is None else pose
        pairs = project_to_cameras(points, matrix[None], camera.cam2img[None], np.array([camera.size]))
        fractions.append(len(pairs) / max(len(points), 1))
    matrix = recording.cameras[name].lidar2cam if pose is None else pose
    down = recording.calibration.lidar2ego[:3, :3] @ matrix[1, :3]
    return View(float(np.mean(fractions)), float(np.degrees(np.arccos(np.clip(-down[2], -1, 1)))))


def _other_pose(recording: Recording, samples: list, scans: list, cameras: Mapping, views: Mapping[str, View]) -> str:
    """The usual mistake that explains the poses of most cameras better than their calibration does, in words."""
    best = (0, 0.0, '')
    for mistake, change in _MISTAKES.items():
        changed = {name: change(recording.cameras[name].lidar2cam) for name in cameras}
        others = {name: _view(recording, name, samples, scans, cameras[name], changed[name]) for name in cameras}
        better = [name for name in cameras if others[name].is_better(views[name])]
        worse = [name for name in cameras if views[name].is_better(others[name])]
        if len(better) > len(worse):
            own, other = views[better[0]], others[better[0]]
            text = (
                f'lidar2cam of {", ".join(better)} seems to be {mistake}, which would put {100 * other.fraction:.1f} % '
                f'instead of {100 * own.fraction:.1f} % of the points into the image of {better[0]}, tilted by '
                f'{other.tilt:.0f} instead of {own.tilt:.0f} degrees'
            )
            best = max(best, (len(better) - len(worse), sum(view.fraction for view in others.values()), text))
    return best[2]


def _reordered(order: Sequence[int]):
    """Change of a matrix whose quaternion was taken in another order."""

    def change(matrix: np.ndarray) -> np.ndarray:
        changed = matrix.copy()
        changed[:3, :3] = Rotation.from_quat(Rotation.from_matrix(matrix[:3, :3]).as_quat()[list(order)]).as_matrix()
        return changed

    return change


# what undoes each mistake
_MISTAKES = {
    'camera to lidar (write the inverse)': np.linalg.inv,
    'made of a quaternion qw, qx, qy, qz that was read as qx, qy, qz, qw': _reordered([1, 2, 3, 0]),
    'made of a quaternion qx, qy, qz, qw that was read as qw, qx, qy, qz': _reordered([3, 0, 1, 2]),
}


def _few_points(recording: Recording, name: str, view: View) -> str:
    few = f'{100 * view.fraction:.2g} %'
    return f'{recording.title}: only {few} of the points lie in the image of {name}: look at its overlay'


def _about_cameras(recording: Recording, cameras: Mapping[str, Pinhole]) -> Iterator[str]:
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
        if (model.fisheye or len(model.distortion)) and (error := inversion_error(model, camera.size)) > 1:
            yield (
                f'{recording.title}: the distortion of {name} does not invert at the border of the image (off by '
                f'{error:.0f} pixels): check the coefficients and distortion_model'
            )


def _about_points(recording: Recording, scans: Sequence[np.ndarray]) -> Iterator[str]:
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


def _offsets(samples: Sequence[Sample], name: str) -> np.ndarray:
    return np.array([sample.offsets[name] for sample in samples if name in sample.offsets])


def _offset_text(samples: Sequence[Sample], name: str) -> str:
    offsets = 1000 * _offsets(samples, name)
    return f'{offsets.mean():+.0f} ms (+- {offsets.std():.0f})' if len(offsets) else 'same name'


def _about_clocks(recording: Recording, samples: Sequence[Sample]) -> Iterator[str]:
    for name in recording.cameras:
        offsets = 1000 * _offsets(samples, name)
        tenth = max(1, len(offsets) // 10)
        if len(offsets) < 3:
            continue
        first, last = offsets[:tenth], offsets[-tenth:]
        drift = last.mean() - first.mean()
        if abs(drift) > 10 and abs(drift) > 3 * max(first.std(), last.std()):
            yield (
                f'{recording.title}: the clock of {name} drifts from {first.mean():+.0f} to {last.mean():+.0f} ms '
                'against that of the lidar: synchronize them, or correct its times'
            )


def _about_poses(recording: Recording) -> Iterator[str]:
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
    return float((turns.as_matrix()[:, 2, 2] < np.cos(np.radians(_LYING))).mean())
