"""Figures of points with features or classes: the cloud from above and projected onto images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from peridot.files import atomic_path
from peridot.structures import Pairs
from peridot.visualization.colors import (
    CORRECT,
    UNLABELED,
    WRONG,
    error_colors,
    label_colors,
    pca_colors,
    similarity_colors,
)

DARK = (18, 18, 18)


@dataclass(frozen=True)
class TopView:
    """Area of the ground that a figure from above shows.

    Attributes:
        extent: Half the width of the figure in meters.
        pixels: Width and height of the figure.
        center: (x, y) in the middle, lidar frame.
        forward: (x, y) unit vector that points up in the figure: y in nuScenes' lidar frame, x in KITTI's.
    """

    extent: float = 40.0
    pixels: int = 600
    center: tuple[float, float] = (0.0, 0.0)
    forward: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def fit(
        cls, xyz: np.ndarray, lidar2cam: np.ndarray | None = None, pixels: int = 600, objects: np.ndarray | None = None
    ) -> 'TopView':
        """The view that shows most of a cloud, but nothing farther than about 50 m (80 m ahead) from the sensor.

        Args:
            xyz: Float (N, >=3), meters, lidar frame.
            lidar2cam: Float (4, 4), of the front camera, whose axis points up, by default the lidar's y axis.
            pixels: Width and height of the figure.
            objects: Float (M, 2), positions that the view should contain, within these limits.
        """
        forward = np.array([0.0, 1.0])
        if lidar2cam is not None:
            axis = lidar2cam[2, :2]
            forward = np.sign(axis) * (abs(axis) == abs(axis).max())
        axes = np.stack([forward, (forward[1], -forward[0])], 1)
        cloud, added = xyz[:, :2] @ axes, np.reshape([] if objects is None else objects, (-1, 2)) @ axes
        # a cloud that was cut to the view of a front camera is shown from its lower edge on
        ahead_only = (cloud[:, 0] < -5).mean() < 0.02
        reach = (0.5, 1.0) if ahead_only else (1.0, 1.0)
        needed = np.percentile((abs(cloud) * reach).max(1), 97)
        needed = max([needed, *(1.05 * abs(added) * reach).max(1)])
        extent = float(np.clip(needed, 10, 40 if ahead_only else 52))
        center = 0.95 * extent * forward * ahead_only
        return cls(extent, pixels, tuple(center.tolist()), tuple(forward.tolist()))

    def place(self, xy: np.ndarray) -> np.ndarray:
        """Continuous (row, column) of points (..., 2) in meters."""
        moved = np.asarray(xy, dtype=np.float64) - self.center
        along, across = moved @ self.forward, moved @ (self.forward[1], -self.forward[0])
        return np.stack([1 - along / self.extent, 1 + across / self.extent], -1) * self.pixels / 2


@dataclass(frozen=True)
class Cloud:
    """A point cloud and its cameras, ready to be drawn.

    Attributes:
        xyz: Float (N, 3), meters, lidar frame.
        images: Uint8 (V, H, W, 3); without cameras the cloud stands alone.
        pairs: Pairs of the points with these images.
        view: Area that is shown from above, by default 40 m around the sensor with y up.
    """

    xyz: np.ndarray
    images: np.ndarray
    pairs: Pairs
    view: TopView = TopView()

    @classmethod
    def of_inputs(cls, inputs: dict, lidar2cam: np.ndarray | None = None) -> 'Cloud':
        """One sample of a paired dataset, with the view of `TopView.fit`.

        Args:
            inputs: `points` (N, >=3), `pairs` and, if there are cameras, `images` uint8 (V, 3, H, W).
            lidar2cam: Float (4, 4), of the front camera, whose axis points up.
        """
        xyz = inputs['points'][:, :3].cpu().numpy()
        images = inputs['images'] if len(inputs.get('images', ())) else torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
        images = images.permute(0, 2, 3, 1).cpu().numpy()
        return cls(xyz, images, inputs['pairs'], TopView.fit(xyz, lidar2cam))

    def nearest(self, x: float, y: float) -> int:
        """Row of the point nearest to a position on the ground, in meters."""
        return int(np.linalg.norm(self.xyz[:, :2] - np.array((x, y), self.xyz.dtype), axis=1).argmin())


def draw_from_above(
    xyz: np.ndarray, colors: np.ndarray, view: TopView | None = None, height: np.ndarray | None = None
) -> np.ndarray:
    """Draw a cloud from above.

    Args:
        xyz: Float (N, 3), meters, lidar frame.
        colors: Uint8 (N, 3).
        view: Area that is shown, by default 40 m around the sensor with y up.
        height: Float (N,), points with larger values cover others; by default their z.

    Returns:
        Uint8 (pixels, pixels, 3).
    """
    view = view or TopView()
    canvas = np.full((view.pixels, view.pixels, 3), DARK, np.uint8)
    row, col = np.floor(view.place(xyz[:, :2])).astype(int).T
    order = np.argsort(xyz[:, 2] if height is None else height, kind='stable')
    order = order[((col >= 1) & (col < view.pixels) & (row >= 1) & (row < view.pixels))[order]]
    for dr in (0, 1):
        for dc in (0, 1):
            canvas[row[order] - dr, col[order] - dc] = colors[order]
    return canvas


def draw_on_images(images: np.ndarray, pairs: Pairs, colors: np.ndarray, radius: int = 2) -> np.ndarray:
    """Draw points on the images that they project to.

    Args:
        images: Uint8 (V, H, W, 3).
        pairs: Pairs of one sample in the frame of `images`.
        colors: Uint8 (N, 3), one per point.
        radius: Half the width of a point in pixels.

    Returns:
        Uint8 (V, H, W, 3).
    """
    canvas = images // 2
    height, width = images.shape[1:3]
    position = pairs.position.round().long().cpu().numpy()
    camera, color = pairs.camera.cpu().numpy(), colors[pairs.point.cpu().numpy()]
    for dr in range(-radius + 1, radius):
        for dc in range(-radius + 1, radius):
            row = np.clip(position[:, 0] + dr, 0, height - 1)
            col = np.clip(position[:, 1] + dc, 0, width - 1)
            canvas[camera, row, col] = color
    return canvas


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Arrange images (V, H, W, 3) in rows of `columns`; the last row is padded with black."""
    rows = -(-len(images) // columns)
    padded = np.zeros((rows * columns, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    grid = padded.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * images.shape[1], columns * images.shape[2], 3)


def caption(figure: np.ndarray, text: str) -> np.ndarray:
    """Write a line of text into the upper left corner of a figure, in place."""
    size = max(0.45, figure.shape[0] / 1400)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    figure[: height + 2 * below, : width + 2 * below] = DARK
    cv2.putText(figure, text, (below, height + below), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return figure


def legend(names: Sequence[str], colors: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Draw names with their colors, in as many lines as needed: uint8 (H, width, 3)."""
    line, size = 30, 0.55
    corners: list[tuple[int, int]] = []
    right, row = 8, 0
    for name in names:
        wide = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] + 48
        if right + wide > width and right > 8:
            right, row = 8, row + 1
        corners.append((right, row * line))
        right += wide
    canvas = np.full(((row + 1) * line, width, 3), DARK, np.uint8)
    for name, color, (left, top) in zip(names, colors, corners):
        canvas[top + 7 : top + line - 7, left : left + 20] = color
        at = (left + 27, top + line - 10)
        cv2.putText(canvas, name, at, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two figures side by side, the lower one centered vertically."""
    height = max(len(left), len(right))
    gaps = [height - len(side) for side in (left, right)]
    margins = [((gap // 2, gap - gap // 2), (0, 0), (0, 0)) for gap in gaps]
    return np.hstack([np.pad(side, gap, constant_values=DARK[0]) for side, gap in zip((left, right), margins)])


def save_figure(path: str | os.PathLike, figure: np.ndarray) -> None:
    """Write a figure uint8 (H, W, 3) as a PNG file (JPEG if `path` ends in .jpg), atomically, with missing folders."""
    form = dict(format='JPEG', quality=90) if Path(path).suffix == '.jpg' else dict(format='PNG')
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(figure)).save(temporary, **form)


def feature_figure(features: Tensor, cloud: Cloud, query: int | None = None) -> np.ndarray:
    """Draw the cloud from above beside the cameras, colored by feature.

    Args:
        features: Float (N, C).
        cloud: The points.
        query: Row of a point: color by similarity to it instead of by principal components; a cross marks it.

    Returns:
        Uint8 (H', W', 3).
    """
    return color_figure(pca_colors(features) if query is None else similarity_colors(features, query), cloud, query)


def color_figure(colors: np.ndarray, cloud: Cloud, marked: int | None = None) -> np.ndarray:
    """Draw the cloud from above beside the cameras, in given colors.

    Args:
        colors: Uint8 (N, 3).
        cloud: The points.
        marked: Row of a point that gets a cross.

    Returns:
        Uint8 (H', W', 3).
    """
    above = draw_from_above(cloud.xyz, colors, cloud.view)
    if marked is not None:
        row, col = cloud.view.place(cloud.xyz[marked, :2]).astype(int)
        cv2.drawMarker(above, (int(col), int(row)), (255, 60, 60), cv2.MARKER_CROSS, 24, 2)
    if not len(cloud.images):
        return above
    cameras = tile(draw_on_images(cloud.images, cloud.pairs, colors), min(3, len(cloud.images)))
    height = len(above)
    if len(cloud.images) == 1:
        # the wide image of a single camera would become wider than a screen
        height = min(height, round(1240 * len(cameras) / cameras.shape[1]))
    width = round(cameras.shape[1] * height / len(cameras))
    return beside(above, np.asarray(Image.fromarray(cameras).resize((width, height))))


def segmentation_figure(
    cloud: Cloud, truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Draw ground truth, prediction and errors below each other, each from above and on the cameras.

    Args:
        cloud: The points.
        truth: Int (N,); values outside [0, K) have no ground truth.
        predicted: Int (N,).
        classes: Names of the K classes.
        palette: Their RGB colors.

    Returns:
        Uint8 (H', W', 3).
    """
    images, pairs = cloud.images, cloud.pairs
    labeled = (truth >= 0) & (truth < len(classes))
    wrong = labeled & (truth != predicted)
    percent = 100 * wrong.sum() / max(labeled.sum(), 1)
    # errors are drawn last, so that correct points do not hide them
    on_top, last = np.where(wrong, 1, 0), pairs[torch.argsort(torch.from_numpy(wrong)[pairs.point], stable=True)]
    rows = []
    for text, colors, order, drawn in (
        ('ground truth', label_colors(truth, palette), None, pairs),
        ('prediction', label_colors(predicted, palette), None, pairs),
        (f'errors: {percent:.1f} % of the labeled points', error_colors(truth, predicted, len(classes)), on_top, last),
    ):
        above = caption(draw_from_above(cloud.xyz, colors, cloud.view, order), text)
        if len(images):
            above = beside(above, tile(draw_on_images(images, drawn, colors), min(3, len(images))))
        rows.append(above)
    names, colors = [*classes, 'no ground truth', 'correct', 'wrong'], [*palette, UNLABELED, CORRECT, WRONG]
    return np.vstack([*rows, legend(names, colors, rows[0].shape[1])])
