"""Figures of 3D boxes: from above and projected onto images."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from peridot.datasets.projection import lidar_to_image
from peridot.visualization.figures import DARK, TopView, beside, caption, draw_from_above, legend, tile

TRUE, PREDICTED = (70, 230, 100), (255, 140, 0)
POINTS = (120, 125, 135)
# corners as mmdet3d numbers them: 0 to 3 at the back, 4 to 7 at the front, each in order from the lower right
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
BOTTOM, FRONT = [0, 3, 7, 4], [4, 7]
NEAR = 0.5
# pixels; smaller boxes get no name
SMALL = 24


@dataclass(frozen=True)
class Boxes:
    """Boxes of one kind, true or predicted.

    Attributes:
        corners: Float (M, 8, 3), meters, lidar frame, in the order of mmdet3d's `LiDARInstance3DBoxes.corners`.
        names: Text beside each of them on the images.
        color: RGB.
        names_below: Whether the names are written below the boxes, so that they do not cover those of another kind.
    """

    corners: np.ndarray
    names: Sequence[str]
    color: tuple[int, int, int]
    names_below: bool = False


def draw_boxes_from_above(figure: np.ndarray, boxes: Boxes, view: TopView) -> None:
    """Draw outlines of the boxes, with a line from center to front, on a figure from above, in place."""
    for corners in boxes.corners:
        outline = view.place(corners[BOTTOM, :2])
        middle, front = outline.mean(0), view.place(corners[FRONT, :2]).mean(0)
        _line(figure, outline, boxes.color, 2, closed=True)
        _line(figure, np.stack([middle, front]), boxes.color, 2)


def draw_boxes_on_image(figure: np.ndarray, boxes: Boxes, lidar2img: np.ndarray) -> None:
    """Draw edges and names of the boxes on one image, in place; parts behind the camera are cut off.

    Args:
        figure: Uint8 (H, W, 3).
        boxes: The boxes.
        lidar2img: Float (3, 4), see `lidar_to_image`.
    """
    seen = []
    for corners, name in zip(boxes.corners, boxes.names):
        lines = _visible_edges(corners @ lidar2img[:, :3].T + lidar2img[:, 3])
        for line in lines:
            _line(figure, line, boxes.color, 1)
        if lines:
            seen.append((np.concatenate(lines), name))
    _write_names(figure, boxes, sorted(seen, key=lambda item: -np.ptp(item[0], axis=0).max()))


def detection_figure(
    xyz: np.ndarray,
    images: np.ndarray,
    lidar2cam: np.ndarray,
    cam2img: np.ndarray,
    true: Boxes,
    predicted: Boxes,
    view: TopView,
) -> np.ndarray:
    """Draw true and predicted boxes from above and on the cameras.

    Args:
        xyz: Float (N, 3), meters, lidar frame.
        images: Uint8 (V, H, W, 3), V may be 0.
        lidar2cam: Float (V, 4, 4).
        cam2img: Float (V, 4, 4).
        true: Annotated boxes.
        predicted: Boxes of the network.
        view: Area that is shown from above; with one camera it is placed below the image and must be as wide.

    Returns:
        Uint8 (H', W', 3).
    """
    above = draw_from_above(xyz, np.full((len(xyz), 3), POINTS, np.uint8), view)
    images = images.copy()
    for boxes in (true, predicted):
        draw_boxes_from_above(above, boxes, view)
        for figure, matrix in zip(images, lidar_to_image(lidar2cam, cam2img)):
            draw_boxes_on_image(figure, boxes, matrix)
    caption(above, f'{2 * view.extent:.0f} m wide')
    names = [f'ground truth ({len(true.corners)})', f'prediction ({len(predicted.corners)})']
    if len(images) == 1:
        figure = np.vstack([images[0], above])
    elif len(images):
        figure = beside(above, tile(images, 2))
    else:
        figure = above
    return np.vstack([figure, legend(names, [true.color, predicted.color], figure.shape[1])])


def _visible_edges(corners: np.ndarray) -> list[np.ndarray]:
    """Pixels (row, column) of both ends, float (2, 2), of the edges' parts at least `NEAR` in front of the camera."""
    lines = []
    for start, end in (sorted((corners[i], corners[j]), key=lambda corner: corner[2]) for i, j in EDGES):
        if end[2] < NEAR:
            continue
        if start[2] < NEAR:
            start = start + (end - start) * (NEAR - start[2]) / (end[2] - start[2])
        line = np.stack([start, end])
        lines.append(line[:, 1::-1] / line[:, 2:])
    return lines


def _line(
    figure: np.ndarray, pixels: np.ndarray, color: tuple[int, int, int], width: int, closed: bool = False
) -> None:
    points = np.round(pixels[:, ::-1]).astype(np.int32)
    cv2.polylines(figure, [points], closed, color, width, cv2.LINE_AA)


def _write_names(figure: np.ndarray, boxes: Boxes, seen: list[tuple[np.ndarray, str]]) -> None:
    """Write names above predicted or below true boxes, except small ones and where they would cover another name."""
    height, width = figure.shape[:2]
    taken = np.zeros((height, width), bool)
    for pixels, name in seen:
        (top, left), (bottom, right) = pixels.min(0), pixels.max(0)
        row, col = pixels.mean(0)
        if not (0 <= row < height and 0 <= col < width) or max(bottom - top, right - left) < SMALL:
            continue
        wide, high = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0]
        x = int(np.clip(left, 0, max(width - wide, 0)))
        y = int(np.clip(bottom + 14 if boxes.names_below else top - 5, high + 1, height - 4))
        area = taken[y - high : y + 4, x : x + wide]
        if area.any():
            continue
        area[:] = True
        for color, thickness in ((DARK, 3), (boxes.color, 1)):
            cv2.putText(figure, name, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, thickness, cv2.LINE_AA)
