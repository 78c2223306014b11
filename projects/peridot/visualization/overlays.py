"""Points of scans drawn on the images that belong to them: a wrong calibration is seen at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from peridot.datasets.paired_dataset import PairedDataset
from peridot.datasets.projection import project_to_cameras
from peridot.maps.images import ImageSource
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import caption, draw_on_images, save_figure, tile

OVERLAYS = 'overlays'
_WIDTH = 960  # of a camera's image in a figure, pixels
_FARTHEST = 50.0  # distance with the last color, meters


def write_overlays(root: Path, info_files: Iterable[Path]) -> list[Path]:
    """Draw the first scan of every recording on its images.

    Args:
        root: Folder of the dataset; the figures go to `overlays/` in it.
        info_files: Its info files, whose scans have points of four columns.

    Returns:
        The figures, `overlays/RECORDING.jpg`.
    """
    figures: dict[str, Path] = {}
    for path in info_files:
        dataset = PairedDataset(str(root), path.name, pipeline=[], test_mode=True, serialize_data=False)
        for row in range(len(dataset)):
            info = dataset.get_data_info(row)
            name = info['token'].rpartition('/')[0] or root.name
            if name not in figures and info['cameras']:
                figures[name] = root / OVERLAYS / f'{name}.jpg'
                save_figure(figures[name], overlay(info))
    return sorted(figures.values())


def overlay(info: dict) -> np.ndarray:
    """Draw a scan on its images, from dark blue (near) to yellow (50 m and farther).

    Args:
        info: A parsed info of a `PairedDataset`, with at least one camera.

    Returns:
        Uint8 (H, W, 3), the cameras in rows of three.
    """
    points = np.fromfile(info['lidar_path'], np.float32).reshape(-1, 4)
    colors = heat_colors(torch.from_numpy(np.linalg.norm(points[:, :3], axis=1)), 0, _FARTHEST)
    drawn: list[np.ndarray] = []
    for view, (name, path) in enumerate(zip(info['cameras'], info['img_paths'])):
        image = ImageSource(path).read()[None]
        one = slice(view, view + 1)
        pairs = project_to_cameras(points, info['lidar2cam'][one], info['cam2img'][one], [image.shape[1:3]])
        figure = draw_on_images(image, pairs, colors, radius=max(2, round(image.shape[2] / 480)))[0]
        height = len(drawn[0]) if drawn else round(len(figure) * _WIDTH / figure.shape[1])
        small = np.array(Image.fromarray(figure).resize((_WIDTH, height)))
        drawn.append(caption(small, f'{name}: {len(pairs)} of {len(points)} points'))
    return tile(np.stack(drawn), min(3, len(drawn)))
