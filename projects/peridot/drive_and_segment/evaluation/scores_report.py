"""The page that `tools/drive_and_segment.py` ends with: a table of scores and a few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.dataset import BaseDataset

from peridot.datasets.camera_images import IGNORED
from peridot.drive_and_segment.segmentor.segment_images import UNNAMED, class_palette
from peridot.evaluation.matched_miou import UNMATCHED
from peridot.files import atomic_path
from peridot.maps.images import ImageSource
from peridot.visualization.colors import label_colors
from peridot.visualization.html import figure_html, legend, page, table

IMAGES = 4
# pixels
WIDTH = 352
GAP = 4


class Column(NamedTuple):
    """One kind of prediction that is shown for each image.

    Attributes:
        title: Its name.
        predict: Gives the clusters int (H, W) of an image, -1 for none, from its file and its pixels uint8 (H, W, 3).
        matching: File with the class of each cluster.
    """

    title: str
    predict: Callable[[str, np.ndarray], np.ndarray]
    matching: Path


def write_report(path: Path, rows: list[list[str]], images: BaseDataset, columns: Sequence[Column]) -> None:
    """Write the page.

    Args:
        path: HTML file.
        rows: Table, its header first.
        images: Held-out images with their classes.
        columns: Predictions that are shown beside image and truth.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, IMAGES).astype(int))
    lines = [_line(images, int(index), columns) for index in chosen]
    titles = ', '.join(['image', *(column.title for column in columns), 'truth'])
    sections = [
        '<h2>Scores</h2><p>After matching clusters to classes, one to one, for all held-out images together. Pixels '
        'without cluster, and those of clusters that no class is left for, count as missed.</p>',
        table(rows[0], rows[1:]),
        '<h2>Held-out images</h2>',
        figure_html(np.concatenate(lines), f'From left to right: {titles}. Black: no cluster, or none of the classes.'),
        legend(images.metainfo['classes'], images.metainfo['palette']),
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(page('Drive&Segment', sections))


def _line(images: BaseDataset, index: int, columns: Sequence[Column]) -> np.ndarray:
    """Image, predictions and truth side by side."""
    sample = images[index]['data_samples']
    image, truth = ImageSource(sample.img_path).read(), sample.gt_sem_seg.data[0].numpy().astype(np.int64)
    parts = [image]
    for column in columns:
        colors = class_palette(str(column.matching)).colors
        parts.append(label_colors(column.predict(sample.img_path, image), colors, UNNAMED))
    parts.append(label_colors(np.where(truth == IGNORED, UNMATCHED, truth), images.metainfo['palette'], UNNAMED))
    size = (WIDTH, round(WIDTH * image.shape[0] / image.shape[1]))
    small = [cv2.resize(part, size, interpolation=cv2.INTER_NEAREST) for part in parts]
    return np.concatenate([np.pad(part, ((0, GAP), (0, GAP), (0, 0))) for part in small], 1)
