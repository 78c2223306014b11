"""Figures of lidar segments: both scans from above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine import dist

from peridot.catalog import class_colors
from peridot.datasets.transforms import LoadPoints
from peridot.lidar_segments.pairs import ScanPair
from peridot.maps import SegmentFolder
from peridot.visualization.figures import TopView, draw_from_above, save_figure

GRAY, GAP = (70, 70, 70), 6


def draw_segments(clouds: Sequence[np.ndarray], ids: Sequence[np.ndarray], pixels: int = 600) -> np.ndarray:
    """Scans side by side from above, every segment in one color, other points gray.

    Args:
        clouds: Float (N_i, 3) each, in the frame of the first scan, in meters.
        ids: Int (N_i,) each, -1 for none.
        pixels: Width and height of one scan.

    Returns:
        Uint8 (pixels, W, 3), RGB.
    """
    view = TopView.fit(clouds[0], pixels=pixels)
    palette = np.concatenate([class_colors(max(int(own.max(initial=-1)) for own in ids) + 1), [GRAY]]).astype(np.uint8)
    # points without segment lie below all others
    parts = [draw_from_above(xyz, palette[own], view, height=own >= 0) for xyz, own in zip(clouds, ids)]
    gap = np.full((pixels, GAP, 3), 255, np.uint8)
    return np.concatenate([part for figure in parts for part in (gap, figure)][1:], 1)


def write_previews(folder: SegmentFolder, load: LoadPoints, pairs: Sequence[ScanPair], count: int) -> list[Path]:
    """Write figures of `count` pairs, drawn at random, to `<folder>/preview`, in the first process.

    Args:
        folder: The segments.
        load: Reads the points.
        pairs: All pairs.
        count: Largest number of figures.

    Returns:
        Files written (none in the other processes).
    """
    if count <= 0 or not dist.is_main_process():
        return []
    written = []
    for number, index in enumerate(np.random.default_rng(0).permutation(len(pairs))[:count]):
        pair = pairs[index]
        clouds = pair.read(load)
        path = folder.folder / 'preview' / f'{number:03d}_{folder.path_for(pair.scans[0]).stem}.png'
        save_figure(path, draw_segments(pair.together(clouds), folder.both(pair.scans, clouds)))
        written.append(path)
    return written
