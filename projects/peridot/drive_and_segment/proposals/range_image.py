"""Range image of a lidar sweep: one row per beam and one column per direction around the sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peridot.errors import ConfigError, DataError

# largest difference between the elevations of a beam's points, in radians
MAX_SPREAD = np.deg2rad(2.0)


@dataclass(frozen=True)
class Sensor:
    """Sampling pattern of a rotating lidar.

    Attributes:
        columns: Columns W of the range image; slightly fewer than the sensor's shots per revolution.
        elevations: Elevation of every beam in degrees, in any order. With `ring_column` they only tell where beams
            without any return are.
        ring_column: Column of the points that holds the number of the beam; None sorts points into beams by elevation.
        origin: Position of the sensor in the frame of the points, in meters.
        min_range: Returns nearer than this come from the vehicle itself, in meters.
        max_residual: Points farther than this fraction of a beam step from every beam of `elevations` are left out.

    Raises:
        ConfigError: A value makes no sense.
    """

    columns: int
    elevations: Sequence[float] | None = None
    ring_column: int | None = None
    origin: Sequence[float] = (0.0, 0.0, 0.0)
    min_range: float = 1.0
    max_residual: float = 0.5

    def __post_init__(self) -> None:
        if self.columns < 4:
            raise ConfigError(f'proposals.sensor.columns={self.columns}: a revolution has hundreds of them')
        if self.ring_column is None and len(set(self.elevations or ())) < 2:
            raise ConfigError(
                'proposals.sensor.elevations must list the elevation of every beam in degrees where ring_column is None'
            )
        if not 0 < self.max_residual <= 0.5:
            raise ConfigError(f'proposals.sensor.max_residual={self.max_residual} must lie above 0 and up to 0.5')


@dataclass
class RangeImage:
    """Ranges of one sweep; R rows from the highest beam down, W columns whose first and last are neighbors.

    Attributes:
        range: Float64 (R, W), meters, 0 in empty cells.
        elevation: Float64 (R,), radians, one per beam.
        points: Float64 (N, 3), meters, relative to the sensor.
        cell: Int64 (N,), cell `row * W + column` of every point, -1 for points that have none.
        nearest: Int64 (R, W), the nearest point of each cell; -1 in empty cells.
        repaired: Bool (R, W), cells without a point whose range `fill_gaps` interpolated.
    """

    range: np.ndarray
    elevation: np.ndarray
    points: np.ndarray
    cell: np.ndarray
    nearest: np.ndarray
    repaired: np.ndarray

    @property
    def column_step(self) -> float:
        """Angle between neighboring columns in radians."""
        return 2 * np.pi / self.range.shape[1]

    def directions(self, cells: np.ndarray) -> np.ndarray:
        """Unit vectors (K, 3) through the centers of flat cells (K,)."""
        row, column = np.divmod(cells, self.range.shape[1])
        azimuth, elevation = np.pi - (column + 0.5) * self.column_step, self.elevation[row]
        flat = np.cos(elevation)
        return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], 1)

    def positions(self) -> np.ndarray:
        """Point of each cell, (R, W, 3); in repaired cells where it would be, in empty ones the origin."""
        positions, filled = np.zeros((*self.range.shape, 3)), self.nearest >= 0
        positions[filled] = self.points[self.nearest[filled]]
        if self.repaired.any():
            positions[self.repaired] = self.directions(np.flatnonzero(self.repaired)) * self.range[self.repaired, None]
        return positions

    def of_points(self, values: np.ndarray) -> np.ndarray:
        """Value of every point's cell, (N,), 0 for points without a cell."""
        return np.where(self.cell >= 0, values.ravel()[self.cell], 0)


def make_range_image(points: np.ndarray, sensor: Sensor) -> RangeImage:
    """Sort the points of a sweep into beams and columns.

    Args:
        points: Float (N, >=3), x, y, z in meters of one sweep, with the ring in `sensor.ring_column` if that is set.
        sensor: The lidar.

    Raises:
        DataError: The points have no such column, or it holds something other than beam numbers.
    """
    xyz = np.asarray(points[:, :3], np.float64) - np.asarray(sensor.origin)
    distance = np.sqrt((xyz**2).sum(1))
    valid = np.isfinite(distance) & (distance >= sensor.min_range)
    height = np.divide(xyz[:, 2], distance, out=np.zeros(len(xyz)), where=valid)
    angle = np.arcsin(np.clip(height, -1, 1))
    if sensor.ring_column is None:
        row, elevation = _rows_by_elevation(angle, sensor)
        valid &= row >= 0
    else:
        row, elevation = _rows_by_ring(points, sensor, angle, valid)
    azimuth = np.arctan2(xyz[:, 1], np.where(valid, xyz[:, 0], 1.0))
    column = np.floor((np.pi - azimuth) / (2 * np.pi) * sensor.columns).astype(np.int64) % sensor.columns
    cell = np.where(valid, row * sensor.columns + column, -1)
    ranges, nearest = _nearest_points(cell, distance, len(elevation) * sensor.columns)
    shape = (len(elevation), sensor.columns)
    return RangeImage(ranges.reshape(shape), elevation, xyz, cell, nearest.reshape(shape), np.zeros(shape, bool))


def _nearest_points(cell: np.ndarray, distance: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Range and nearest point of every cell, 0 and -1 in empty cells."""
    order = np.flatnonzero(cell >= 0)
    # of several assignments to a cell the last one counts
    order = order[np.argsort(-distance[order], kind='stable')]
    ranges, nearest = np.zeros(cells), np.full(cells, -1)
    nearest[cell[order]] = order
    ranges[cell[order]] = distance[order]
    return ranges, nearest


def _rows_by_ring(points: np.ndarray, sensor: Sensor, angle: np.ndarray, valid: np.ndarray):
    """Row of every point and elevation of the rows; beams are sorted by their median elevation."""
    column = sensor.ring_column
    if points.shape[1] <= column:
        raise DataError(
            f'points of {points.shape[1]} columns have no ring in column {column}: set use_dim of '
            'proposals.load_points so that it is kept, or proposals.sensor.ring_column=None to use elevations'
        )
    ring = points[:, column]
    beam = np.where(np.isfinite(ring), ring, -1).astype(np.int64)
    wrong = (beam != ring) | (beam < 0) | (beam > 255)
    if wrong.any():
        raise _no_ring(column, f'{ring[wrong][0]:g}')
    present = np.unique(beam[valid])
    if not len(present):
        return beam, np.zeros(1)
    low, median, high = np.array([np.percentile(angle[valid & (beam == number)], (10, 50, 90)) for number in present]).T
    if np.median(high - low) > MAX_SPREAD:
        raise _no_ring(column, f'numbers that several beams share (such as {present[0]})')
    silent = _silent_beams(median, sensor.elevations)
    elevation = np.concatenate([median, silent])
    order = np.argsort(-elevation, kind='stable')
    row_of_ring = np.zeros(256, np.int64)
    row_of_ring[present] = np.argsort(order)[: len(present)]
    return row_of_ring[beam], elevation[order]


def _silent_beams(elevation: np.ndarray, table: Sequence[float] | None) -> np.ndarray:
    """Entries of a table in degrees that are farther than half a beam step from all given elevations in radians."""
    table = np.deg2rad(table if table is not None else ())
    step = np.diff(np.sort(table)).min() if len(table) > 1 else np.inf
    return table[abs(table[:, None] - elevation).min(1) > step / 2]


def _no_ring(column: int, found: str) -> DataError:
    return DataError(
        f'column {column} holds {found}, which is not a beam: set proposals.sensor.ring_column to the column of the '
        'ring (accumulated sweeps have none), or to None to use elevations'
    )


def _rows_by_elevation(angle: np.ndarray, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    """Row of the nearest beam, -1 where none is near, and elevation of the rows."""
    table = np.sort(np.deg2rad(np.unique(sensor.elevations)))
    last = len(table) - 1
    row = np.searchsorted((table[1:] + table[:-1]) / 2, angle)
    residual = angle - table[row]
    # beams at the ends have one neighbor
    step = np.where(residual > 0, np.diff(table)[np.minimum(row, last - 1)], np.diff(table)[np.maximum(row - 1, 0)])
    near = abs(residual) <= sensor.max_residual * step
    return np.where(near, last - row, -1), table[::-1]


def fill_gaps(image: RangeImage, reach: int = 4, tolerance: float = 1.0) -> RangeImage:
    """Fill empty cells between cells of similar range.

    For each i, j in 1..reach, the cell i above and the cell j below, where both have a return and differ by less than
    `tolerance`, give their ranges; the empty cell takes the mean of all. Empty cells between a left and a right
    neighbor of similar range are filled too: a column is one shot only on average.

    Args:
        image: Range image.
        reach: Distance of the farthest cell in a column that is used.
        tolerance: Largest difference of ranges in meters.

    Returns:
        The range image with the filled cells, which are marked as `repaired`.
    """
    rows, columns = image.range.shape
    row, column = np.nonzero(image.range == 0)
    padded = np.pad(image.range, ((reach, reach), (1, 1)), mode='constant')
    padded[:, 0], padded[:, -1] = padded[:, -2], padded[:, 1]
    above = [padded[row + reach - step, column + 1] for step in range(1, reach + 1)]
    below = [padded[row + reach + step, column + 1] for step in range(1, reach + 1)]
    pairs = [(up, down) for up in above for down in below]
    pairs.append((padded[row + reach, column], padded[row + reach, column + 2]))
    total, count = np.zeros(len(row)), np.zeros(len(row))
    for first, second in pairs:
        similar = (first > 0) & (second > 0) & (abs(first - second) < tolerance)
        total += np.where(similar, first + second, 0)
        count += 2 * similar
    filled = count > 0
    ranges, repaired = image.range.copy(), np.zeros((rows, columns), bool)
    ranges[row[filled], column[filled]] = total[filled] / count[filled]
    repaired[row[filled], column[filled]] = True
    return RangeImage(ranges, image.elevation, image.points, image.cell, image.nearest, repaired)
