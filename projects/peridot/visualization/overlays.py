"""Points of scans drawn on the images that belong to them: a wrong calibration is seen at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from peridot.catalog import class_colors
from peridot.datasets.paired_dataset import PairedDataset
from peridot.datasets.projection import project_to_cameras
from peridot.maps.images import ImageSource
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import TopView, caption, draw_from_above, draw_on_images, save_figure, tile

OVERLAYS = 'overlays'
GAP = 6  # between halves of a figure, pixels
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


def frames_from_above(clouds: Sequence[np.ndarray], to_first: Sequence[np.ndarray], pixels: int = 600) -> np.ndarray:
    """Draw scans of a drive over each other from above: as they were recorded, and moved by their poses.

    The first is white, the others have a color each. On the right, what stands still lies on itself; where it does not,
    the poses are wrong.

    Args:
        clouds: Float (N_i, >=3), meters, each in its lidar frame.
        to_first: Float (4, 4) each, from its lidar frame into that of the first.
        pixels: Width and height of each half.

    Returns:
        Uint8 (pixels, W, 3), RGB.
    """
    view, gap = TopView.fit(clouds[0], pixels=pixels), np.full((pixels, GAP, 3), 255, np.uint8)
    palette = np.concatenate([np.full((1, 3), 255), class_colors(len(clouds) - 1)]).astype(np.uint8)
    color = np.repeat(palette, [len(cloud) for cloud in clouds], axis=0)
    as_recorded = np.concatenate([cloud[:, :3] for cloud in clouds])
    moved = np.concatenate([cloud[:, :3] @ m[:3, :3].T + m[:3, 3] for cloud, m in zip(clouds, to_first)])
    halves = [draw_from_above(xyz, color, view) for xyz in (as_recorded, moved)]
    return np.concatenate([halves[0], gap, halves[1]], 1)
