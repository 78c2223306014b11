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
_DISTANCES = (3.0, 60.0)  # with the first and the last color, meters


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
            name = info['token'].rpartition('/')[0] or root.resolve().name
            if name not in figures and info['cameras']:
                figures[name] = root / OVERLAYS / f'{name}.jpg'
                points = np.fromfile(info['lidar_path'], np.float32).reshape(-1, 4)
                save_figure(figures[name], overlay(info, points))
    return sorted(figures.values())


def overlay(info: dict, points: np.ndarray) -> np.ndarray:
    """Draw a scan on its images, from dark blue (3 m and nearer) to yellow (60 m and farther).

    Args:
        info: A parsed info of a `PairedDataset`, with at least one camera.
        points: Float (N, >=3), the scan, meters in the lidar frame.

    Returns:
        Uint8 (H, W, 3), the cameras in rows of three.
    """
    distance = torch.from_numpy(np.linalg.norm(points[:, :3], axis=1))
    colors = heat_colors(distance.clamp(min=1e-3).log(), *np.log(_DISTANCES))
    drawn: list[np.ndarray] = []
    for view, (name, path) in enumerate(zip(info['cameras'], info['img_paths'])):
        image, one = ImageSource(path, backend_args=info['backend_args']).read(), slice(view, view + 1)
        pairs = project_to_cameras(points, info['lidar2cam'][one], info['cam2img'][one], [image.shape[:2]])
        size = (len(drawn[0]) if drawn else round(image.shape[0] * _WIDTH / image.shape[1]), _WIDTH)
        resized = np.asarray(Image.fromarray(image).resize(size[::-1]))
        pairs = pairs.resized_crop(torch.tensor([[0, 0, *image.shape[:2]]]), size)
        figure = draw_on_images(resized[None], pairs, colors)[0]
        drawn.append(caption(figure, f'{name}: {len(pairs)} of {len(points)} points'))
    return tile(np.stack(drawn), min(3, len(drawn)))
