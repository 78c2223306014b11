"""What a camera sees of a scene that is known from sparse clouds: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from peridot.structures import Pairs


def depths_of(pairs: Pairs, points: np.ndarray, lidar2cam: np.ndarray) -> np.ndarray:
    """Depth of the point of every pair in its camera.

    Args:
        pairs: P pairs.
        points: Float (N, >=3), x, y, z in meters.
        lidar2cam: Float (V, 4, 4), from the frame of the points to the cameras.

    Returns:
        Float32 (P,), meters along the viewing axis.
    """
    axis = np.ascontiguousarray(np.asarray(lidar2cam, dtype=np.float32)[:, 2].T)
    camera, point = pairs.camera.numpy(), pairs.point.numpy()
    depth = axis[3].take(camera)
    # one column after the other: sums along short rows are slow
    for column, values in zip(axis[:3], np.ascontiguousarray(points[:, :3].T)):
        depth += values.take(point) * column.take(camera)
    return depth


def nearest_around(
    position: np.ndarray,
    depth: np.ndarray,
    places: np.ndarray,
    cell: tuple[float, float],
    reaches: Sequence[int] = (1,),
) -> list[np.ndarray]:
    """Nearest depth of the points in the cells of an image around places.

    A sparse cloud leaves most pixels empty, so the image is divided into cells. A place's window are the
    (2 reach + 1)^2 cells around its own one.

    Args:
        position: Float (M, 2), (row, column) of points of a cloud in the image, -0.5 or more.
        depth: Float (M,), their depth.
        places: Float (P, 2), (row, column), -0.5 or more.
        cell: Height and width of a cell in pixels.
        reaches: Cells on each side of a place's own one.

    Returns:
        Float32 (P,) for every reach, infinity where the window has no point.
    """
    if len(position) == 0 or len(places) == 0:
        return [np.full(len(places), np.inf, dtype=np.float32) for _ in reaches]
    axes = [((np.concatenate([position, places])[:, i] + 0.5) / cell[i]).astype(np.int64) for i in (0, 1)]
    height, width = (int(axis.max()) + 1 for axis in axes)
    index = axes[0] * width + axes[1]
    grid = np.full(height * width, np.inf, dtype=np.float32)
    np.minimum.at(grid, index[: len(position)], np.asarray(depth, dtype=np.float32))
    found = []
    for reach in reaches:
        window = np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
        # what lies beyond the border is no minimum
        border = dict(borderType=cv2.BORDER_CONSTANT, borderValue=float('inf'))
        found.append(cv2.erode(grid.reshape(height, width), window, **border).ravel().take(index[len(position) :]))
    return found


def cell_of(cam2img: np.ndarray, resolution: tuple[float, float]) -> tuple[float, float]:
    """Height and width in pixels of cells of half a lidar's angular resolution, in the middle of an image.

    Args:
        cam2img: Float (>=3, >=3), intrinsics.
        resolution: Vertical and horizontal angular resolution of the lidar in degrees.
    """
    vertical, horizontal = np.tan(np.deg2rad(resolution) / 2)
    return float(cam2img[1, 1] * vertical), float(cam2img[0, 0] * horizontal)


def seen_then(
    places: np.ndarray,
    depth: np.ndarray,
    position: np.ndarray,
    measured: np.ndarray,
    cell: tuple[float, float],
    tolerance: float,
    look_through: bool,
) -> np.ndarray:
    """Which points a camera sees at a time, as a cloud tells that was measured from nearly its place.

    A point is hidden if the cloud has something clearly nearer within half a resolution of its direction. It was not
    there if, within a whole resolution, all that the cloud has lies clearly behind it: the beams passed its place.
    Where the cloud has nothing, a point counts as seen.

    Args:
        places: Float (P, 2), (row, column) of the points in the image.
        depth: Float (P,), their depth in meters.
        position: Float (M, 2), (row, column) of the cloud's points.
        measured: Float (M,), their depth.
        cell: Height and width of a cell in pixels, half the resolution of the lidar, see `cell_of`.
        tolerance: Relative difference of depths that is clear.
        look_through: Whether points of which the cloud says that they were not there count as unseen.

    Returns:
        Bool (P,).
    """
    nearest, around = nearest_around(position, measured, places, cell, reaches=(1, 2))
    seen = depth <= (1 + tolerance) * nearest
    if look_through:
        seen &= np.isinf(around) | (around <= (1 + tolerance) * depth)
    return seen
