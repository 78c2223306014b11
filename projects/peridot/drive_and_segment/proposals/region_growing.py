"""Segments of sparse points grown into regions of an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.measure import label as connected_regions

from peridot.drive_and_segment.proposals.clusters import GROUND, NONE


@dataclass(frozen=True)
class RegionRule:
    """Settings of growing points into regions, and of keeping regions.

    Attributes:
        occlusion: Window of the occlusion test, (columns, beams) to each side in beam pitches.
        reach: Pixels farther from every point than this are left out, in beam pitches.
        border: Pixels nearer than this to a border between segments are left out where depth jumps, in beam pitches.
        depth_jump: A larger difference in depth between two segments is a jump, in meters.
        part: Connected parts of a segment are kept if they are larger than this fraction of its largest.
        min_points: Segments with fewer visible points are left out.
        min_pixels: Segments of fewer pixels are left out.
        min_side: Segments whose box is narrower or lower are left out, in pixels.
        empty_range: Range given to beams without return, which keep regions from growing over the sky, in meters.
    """

    occlusion: tuple[float, float] = (1.1, 0.55)
    reach: float = 1.0
    border: float = 0.25
    depth_jump: float = 1.0
    part: float = 0.2
    min_points: int = 5
    min_pixels: int = 100
    min_side: int = 8
    empty_range: float = 60.0


def grow_regions(
    position: np.ndarray,
    depth: np.ndarray,
    ids: np.ndarray,
    size: tuple[int, int],
    pitch: np.ndarray,
    rule: RegionRule,
) -> np.ndarray:
    """Give every pixel the segment of the nearest point, but none where that is doubtful.

    Distances are in units of the beam pitch: sqrt((du / pitch_u)^2 + (dv / pitch_v)^2). A pixel stays without
    segment if it is farther than `rule.reach` from every point, or within `rule.border` of the border between two
    segments (or a segment and nothing) whose points there differ by more than `rule.depth_jump` in depth.

    Args:
        position: Float (K, 2), u, v in pixels.
        depth: Float (K,), meters.
        ids: Int (K,), segment of each point, 0 for none.
        size: (H, W) of the image.
        pitch: Float (2,), pixels between points along a row and along a column.
        rule: The distances.

    Returns:
        Uint16 (H, W).
    """
    if not len(position):
        return np.zeros(size, np.uint16)
    # a canvas on which the pitch is the same number of cells in both directions
    cells = float(np.clip(pitch.min(), 4, 8))
    scale = cells / pitch
    canvas = tuple(int(np.ceil(length * factor)) + 1 for length, factor in zip(size, scale[::-1]))
    column, row = np.rint(position * scale).astype(np.int64).T
    order = np.argsort(-depth, kind='stable')
    column, row = column[order], row[order]
    depth, ids = depth[order], ids[order]
    point = np.full(canvas, -1)
    point[row, column] = np.arange(len(order))
    distance, nearest = nearest_filled(point)
    regions = ids[nearest].astype(np.uint16)
    border = _border(regions, depth[nearest].astype(np.float32), rule.depth_jump)
    # a border is half a cell away from the cells that it separates
    to_border = cv2.distanceTransform(1 - border, cv2.DIST_L2, 5) + 0.5
    regions[(to_border <= rule.border * cells) | (distance > rule.reach * cells)] = NONE
    regions = keep_large_parts(regions, rule.part)
    u, v = (np.rint(np.arange(length) * factor).astype(np.int64) for length, factor in zip(size[::-1], scale))
    return regions[v[:, None], u]


def nearest_filled(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest filled cell, and its content.

    Args:
        index: Int (h, w), -1 in empty cells.

    Returns:
        Distance float32 (h, w) in cells, exact to 2 %, and content int64 (h, w) of the nearest filled cell.
    """
    is_empty = (index < 0).astype(np.uint8)
    distance, label = cv2.distanceTransformWithLabels(is_empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    content = np.zeros(label.max() + 1, np.int64)
    filled = index >= 0
    content[label[filled]] = index[filled]
    return distance, content[label]


def _border(regions: np.ndarray, depth: np.ndarray, jump: float) -> np.ndarray:
    """Borders between regions across which depth jumps: uint8 (h, w), 1 on both sides."""
    border = np.zeros(regions.shape, np.uint8)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differs = (regions[before] != regions[after]) & (abs(depth[before] - depth[after]) > jump)
        border[before] |= differs
        border[after] |= differs
    return border


def keep_large_parts(regions: np.ndarray, fraction: float) -> np.ndarray:
    """Clear connected parts of a segment that are no larger than a fraction of its largest; the ground keeps all.

    Args:
        regions: Uint16 (h, w), segments.
        fraction: The fraction, in [0, 1].

    Returns:
        Uint16 (h, w).
    """
    parts = connected_regions(regions, background=NONE, connectivity=2)
    sizes = np.bincount(parts.ravel())
    owner = np.zeros(len(sizes), np.int64)
    owner[parts] = regions
    largest = np.zeros(owner.max() + 1)
    np.maximum.at(largest, owner[1:], sizes[1:])
    small = (sizes <= fraction * largest[owner]) & (owner != GROUND)
    small[0] = False
    return np.where(small[parts], np.uint16(NONE), regions)


def drop_small(regions: np.ndarray, visible_points: np.ndarray, rule: RegionRule) -> np.ndarray:
    """Clear segments with too few visible points or pixels, or too small a box.

    Args:
        regions: Uint16 (H, W), segments of an image.
        visible_points: Int (S,), points of each segment that the camera sees, S above the largest id.
        rule: The limits.

    Returns:
        Uint16 (H, W).
    """
    count = len(visible_points)
    table = np.zeros((count, 4), np.int64)  # first and last row, first and last column
    by_row, by_column = _presence(regions, count)
    for start, present in ((0, by_row), (2, by_column)):
        table[:, start] = present.argmax(1)
        table[:, start + 1] = present.shape[1] - present[:, ::-1].argmax(1)
    pixels = np.bincount(regions.ravel(), minlength=count)
    sides = np.minimum(table[:, 1] - table[:, 0], table[:, 3] - table[:, 2])
    kept = (visible_points >= rule.min_points) & (pixels >= rule.min_pixels) & (sides >= rule.min_side)
    return np.where(kept, np.arange(count), NONE).astype(np.uint16)[regions]


def _presence(regions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether a segment has pixels in each row and in each column, bool (count, H) and bool (count, W)."""
    height, width = regions.shape
    by_row, by_column = np.zeros((count, height), bool), np.zeros((count, width), bool)
    by_row[regions, np.arange(height)[:, None]] = True
    by_column[regions, np.arange(width)] = True
    return by_row, by_column
