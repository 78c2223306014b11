"""Objects of a range image: connected components under an angle test (Bogoslavskyi and Stachniss, IROS 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from peridot.drive_and_segment.proposals.range_image import RangeImage

# segment ids, also in the files
NONE, GROUND, FIRST_OBJECT = 0, 1, 2


@dataclass(frozen=True)
class ClusterRule:
    """Settings of clustering cells into objects, and of keeping objects.

    Attributes:
        angle: Neighbors with a larger angle beta belong to one object, in degrees.
        min_points: Objects of fewer points are left out.
        max_fraction: Objects with a larger fraction of the sweep's points are left out.
    """

    angle: float = 10.0
    min_points: int = 10
    max_fraction: float = 0.2


def same_surface(image: RangeImage, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Test whether the angle beta between neighboring cells is above a limit.

    beta is the angle between the longer of two neighboring beams and the line through their ends,
    atan2(d2 sin(step), d1 - d2 cos(step)) with ranges d1 >= d2: near 90 degrees on a surface that faces the sensor,
    small across a jump in depth. It is the same for (d1, d2) and (d2, d1).

    Args:
        image: Range image.
        angle: The limit in degrees.

    Returns:
        Bool (R, W) for each cell and its right neighbor (that of the last column is the first), and bool (R - 1, W)
        for each cell and the one below.
    """
    distance, steps = image.range, -np.diff(image.elevation)[:, None]
    right = _angle_above(distance, np.roll(distance, -1, 1), image.column_step, angle)
    return right, _angle_above(distance[:-1], distance[1:], steps, angle)


def _angle_above(first: np.ndarray, second: np.ndarray, step: np.ndarray | float, angle: float) -> np.ndarray:
    """Test beta > angle without the arc tangent: d1 - d2 cos(step) is never negative."""
    far, near = np.maximum(first, second), np.minimum(first, second)
    return near * np.sin(step) > np.tan(np.deg2rad(angle)) * (far - near * np.cos(step))


def grid_components(inside: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Connected components of cells with given links between neighbors; columns wrap around.

    Args:
        inside: Bool (R, W), the cells that take part.
        right: Bool (R, W), link to the right neighbor.
        down: Bool (R - 1, W), link to the cell below.

    Returns:
        Int64 (R, W), components 0, 1, ... in the order of their first cell (row by row), -1 outside.
    """
    right = right & inside & np.roll(inside, -1, 1)
    down = down & inside[:-1] & inside[1:]
    # cells linked along a row are one node of the graph
    begins = inside.copy()
    begins[:, 1:] &= ~right[:, :-1]
    run = begins.ravel().cumsum().reshape(inside.shape) - 1
    across = right[:, -1]
    start = np.concatenate([run[:-1][down], run[across, -1]])
    end = np.concatenate([run[1:][down], run[across, 0]])
    runs = int(begins.sum())
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(runs, runs))
    _, component = connected_components(links, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    # the last entry is read at run -1, before the first cell
    by_first_cell = np.append(first.argsort().argsort()[inverse], -1)
    return np.where(inside, by_first_cell[run], -1)


def cluster_cells(image: RangeImage, ground: np.ndarray, rule: ClusterRule) -> np.ndarray:
    """Cluster the cells of a range image, without the ground, into objects.

    Args:
        image: Range image with filled gaps.
        ground: Bool (R, W).
        rule: The angle and sizes.

    Returns:
        Int64 (R, W), 0 nothing, 1 ground, objects from 2 on by decreasing number of points, then by their first cell.
    """
    component = grid_components((image.range > 0) & ~ground, *same_surface(image, rule.angle))
    owner = np.where(image.cell >= 0, component.ravel()[image.cell], -1)
    sizes = np.bincount(owner[owner >= 0], minlength=component.max() + 1)
    kept = (sizes >= rule.min_points) & (sizes <= rule.max_fraction * len(image.points))
    order = np.argsort(-sizes, kind='stable')
    order = order[kept[order]]
    # the last entry is read at component -1
    ids = np.full(len(sizes) + 1, NONE)
    ids[order] = FIRST_OBJECT + np.arange(len(order))
    return np.where(ground, GROUND, ids[component])
