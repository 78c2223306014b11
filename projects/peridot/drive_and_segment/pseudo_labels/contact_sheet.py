"""A figure of clusters, with a row of the segments nearest to each center."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from peridot.maps.images import ImageSource


def nearest_rows(features: np.ndarray, centers: np.ndarray, labels: np.ndarray, count: int) -> list[np.ndarray]:
    """For each cluster the rows nearest to its center, at most `count`, nearest first.

    Args:
        features: Float (N, C).
        centers: Float (K, C).
        labels: Int (N,), cluster of each feature.
        count: Largest number of rows per cluster.
    """
    distance = ((features - centers[labels]) ** 2).sum(1)
    rows = []
    for cluster in range(len(centers)):
        members = np.flatnonzero(labels == cluster)
        rows.append(members[np.argsort(distance[members], kind='stable')[:count]])
    return rows


def contact_sheet(
    clusters: Sequence[Sequence[tuple[ImageSource, np.ndarray]]],
    names: Sequence[str],
    counts: np.ndarray,
    side: int = 96,
) -> np.ndarray:
    """Draw a figure with a row of crops for every cluster.

    Args:
        clusters: For each cluster its crops: image, and box (left, top, right, bottom).
        names: Names of the clusters.
        counts: Int (K,), sizes of the clusters.
        side: Side of a crop in pixels.

    Returns:
        Uint8 (K * side, width, 3), RGB.
    """
    text, columns = 2 * side, max(map(len, clusters))
    sheet = np.full((len(clusters) * side, text + columns * side, 3), 255, np.uint8)
    for row, (crops, name, count) in enumerate(zip(clusters, names, counts)):
        for line, words in enumerate((name, f'{count} segments')):
            origin = (6, row * side + side // 2 + 20 * line)
            cv2.putText(sheet, words, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for column, (source, box) in enumerate(crops):
            crop = Image.fromarray(source.read()).resize((side - 2, side - 2), Image.Resampling.BICUBIC, box=tuple(box))
            top, left = row * side, text + column * side
            sheet[top : top + side - 2, left : left + side - 2] = np.asarray(crop)
    return sheet
