"""Numbers of a recording that show a wrong calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from peridot.datasets.projection import FEW_POINTS, project_to_cameras
from peridot.datasets.recordings.matching import Sample
from peridot.datasets.recordings.point_files import read_points
from peridot.datasets.recordings.recording import Recording
from peridot.datasets.recordings.suspicions import (
    LYING,
    about_cameras,
    about_clocks,
    about_points,
    about_poses,
    offsets_of,
)
from peridot.datasets.recordings.undistort import Pinhole
from peridot.errors import DataError

# scans of a recording that are looked at
_SCANS = 5
# angle of a camera that stands upright, degrees
_UPRIGHT = 30.0


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
        stands, falls = (a.tilt < _UPRIGHT and b.tilt > LYING for a, b in ((self, other), (other, self)))
        if stands and self.fraction > max(0.5 * other.fraction, FEW_POINTS):
            return True
        return not falls and self.fraction > 2 * other.fraction + 0.005


@dataclass(frozen=True)
class Row:
    """Numbers of a camera in a recording.

    Attributes:
        camera: Its name.
        images: Number of its images.
        size: (height, width) in pixels.
        view: What it sees.
        offsets: Float64 (S,), milliseconds from the scan to the image; empty where the times are not known.
    """

    camera: str
    images: int
    size: tuple[int, int]
    view: View
    offsets: np.ndarray


@dataclass(frozen=True)
class Finding:
    """What a recording's numbers say.

    Attributes:
        rows: One for each camera.
        warnings: One line each.
    """

    rows: list[Row]
    warnings: list[str]


def check(recording: Recording, samples: Sequence[Sample], cameras: Mapping[str, Pinhole]) -> Finding:
    """Look at a few scans of a recording.

    Args:
        recording: The recording.
        samples: Its samples, at least one.
        cameras: Images of each camera.

    Returns:
        The table's rows, and warnings.

    Raises:
        DataError: No point of any scan is finite, or lies in any image.
    """
    chosen = [samples[row] for row in np.unique(np.linspace(0, len(samples) - 1, _SCANS).round().astype(int))]
    scans = [_finite(read_points(sample.scan, recording.calibration.points)) for sample in chosen]
    if not any(map(len, scans)):
        raise DataError(f'{chosen[0].scan} has no point that is finite: record or export the scans again')
    views = {name: _view(recording, name, chosen, scans, cameras[name], None) for name in cameras}
    rows = [
        Row(name, len(recording.images[name]), cameras[name].size, view, 1000 * offsets_of(samples, name))
        for name, view in views.items()
    ]
    other = _other_pose(recording, chosen, scans, cameras, views)
    points = list(about_points(recording, scans))
    if cameras and not any(view.fraction for view in views.values()):
        hints = [*([f'{recording.title}: {other}'] if other else []), *points]
        hint = hints[0].partition(': ')[2] if hints else 'check lidar2cam, the intrinsics, and the unit of the points'
        raise DataError(f'{recording.calibration.path}: no point of {recording.title} lies in any image: {hint}')
    warnings = [
        *([f'{recording.title}: {other}'] if other else []),
        *(_few_points(recording, name, view) for name, view in views.items() if view.fraction < FEW_POINTS),
        *about_cameras(recording, cameras),
        *points,
        *about_clocks(recording),
        *about_poses(recording),
    ]
    return Finding(rows, warnings)


def table(rows: Sequence[Row]) -> str:
    """A line for each camera, with the least and the largest number of several recordings."""
    lines = [('camera', 'images', 'size', 'points in the image', 'tilt', 'time from the scan')]
    for name in dict.fromkeys(row.camera for row in rows):
        own = [row for row in rows if row.camera == name]
        offsets = np.concatenate([row.offsets for row in own])
        lines.append(
            (
                name,
                str(sum(row.images for row in own)),
                ', '.join(dict.fromkeys(f'{row.size[1]}x{row.size[0]}' for row in own)),
                _span([100 * row.view.fraction for row in own], '.1f') + ' %',
                _span([row.view.tilt for row in own], '.0f') + ' degrees',
                _span(offsets, '+.0f') + ' ms' if len(offsets) else 'same name',
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _span(values: Sequence[float], form: str) -> str:
    """Least and largest value, or the only one."""
    return ' to '.join(dict.fromkeys(format(value, form) for value in (min(values), max(values))))


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
