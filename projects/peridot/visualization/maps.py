"""Pictures of maps over their images."""

import numpy as np
from skimage.segmentation import find_boundaries

from peridot.maps import Manifest
from peridot.visualization.colors import class_colors
from peridot.visualization.pictures import legend

YELLOW = (255, 220, 0)


def overlay(image: np.ndarray, ids: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Superpixel borders drawn on the image, or classes as transparent colors, their names below.

    Args:
        image: Uint8 (H, W, 3), RGB image.
        ids: Int (H, W), map.
        manifest: Describes the map.

    Returns:
        Uint8 (H', W, 3), RGB picture.
    """
    if manifest.kind == 'labels':
        palette = class_colors(len(manifest.classes))
        return np.concatenate([paint(image, ids, palette), legend(manifest.classes, palette.tolist(), image.shape[1])])
    picture = image.copy()
    picture[find_boundaries(ids, mode='inner')] = YELLOW
    return picture


def paint(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Labels as transparent colors over an image: (H, W, 3) uint8 RGB.

    Args:
        image: Uint8 (H, W, 3), RGB image.
        labels: Int (H, W), not negative; those from K on have no color.
        palette: Uint8 (K, 3), RGB.
        opacity: Of the colors; 1 hides the image.
    """
    picture, labeled = image.copy(), labels < len(palette)
    picture[labeled] = np.rint((1 - opacity) * image[labeled] + opacity * palette[labels[labeled]])
    return picture
