"""Overlays of some maps on their images, for visual inspection."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine import dist

from peridot.labels.job import MapJob
from peridot.maps import MapFolder
from peridot.visualization.maps import overlay


def write_previews(
    maps: MapFolder, job: MapJob, count: int, draw: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
) -> list[Path]:
    """Write overlays of `count` images, drawn from the dataset, to `<folder>/preview`, in the first process.

    Args:
        maps: The maps.
        job: Their images.
        count: Largest number of overlays.
        draw: Makes a figure (H, W, 3) of an RGB image uint8 (H, W, 3) and its map (H, W); by default that of the maps'
            kind.

    Returns:
        Files written (none in the other processes).
    """
    if count <= 0 or not dist.is_main_process():
        return []
    draw = draw or partial(overlay, manifest=maps.manifest)
    written = []
    for number, index in enumerate(np.random.default_rng(0).permutation(len(job.images))[:count]):
        source = job.images[index]
        image = source.read()
        path = maps.folder / 'preview' / f'{number:03d}_{Path(source.path).stem}.jpg'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), draw(image, maps.read(source.path, image.shape[:2], source.token))[..., ::-1])
        written.append(path)
    return written
