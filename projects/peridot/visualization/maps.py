"""Pictures of maps over their images, for people to look at."""

import colorsys

import cv2
import numpy as np
from skimage.segmentation import find_boundaries

from peridot.maps import Manifest

YELLOW = (255, 220, 0)


def overlay(image: np.ndarray, ids: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Superpixel borders drawn on the image, or classes as transparent colours with their names.

    Args:
        image: (H, W, 3) uint8 RGB image.
        ids: (H, W) map.
        manifest: Describes the map.

    Returns:
        (H, W', 3) uint8 RGB picture; with labels it is wider than the image by the legend.
    """
    picture = image.copy()
    if manifest.kind == 'labels':
        palette = class_colors(len(manifest.classes))
        labeled = ids < len(palette)
        picture[labeled] = (0.45 * picture[labeled] + 0.55 * palette[ids[labeled]]).astype(np.uint8)
        return np.concatenate([picture, _legend(manifest.classes, palette, image.shape[0])], axis=1)
    picture[find_boundaries(ids, mode='inner')] = YELLOW
    return picture


def class_colors(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB colours that are easy to tell apart."""
    hues = (np.arange(count) * 0.618) % 1.0
    values = np.where(np.arange(count) % 2, 0.75, 1.0)
    colors = [colorsys.hsv_to_rgb(hue, 0.8, value) for hue, value in zip(hues, values)]
    return (np.array(colors) * 255).astype(np.uint8)


def _legend(names: list[str], palette: np.ndarray, height: int) -> np.ndarray:
    line = max(8, min(24, height // len(names)))
    size = line / 40
    legend = np.full((height, int(10 + line + max(map(len, names)) * line * 0.48), 3), 255, np.uint8)
    for index, name in enumerate(names):
        top = index * line
        legend[top + 2 : top + line - 2, 4 : 2 + line] = palette[index]
        cv2.putText(
            legend,
            name,
            (8 + line, top + line * 3 // 4),
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    return legend
