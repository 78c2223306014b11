"""Overlays of maps on their images."""

import numpy as np
from skimage.segmentation import find_boundaries

from peridot.catalog import class_colors
from peridot.maps import Manifest
from peridot.visualization.figures import legend

YELLOW = (255, 220, 0)


def overlay(image: np.ndarray, ids: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Draw superpixel borders on the image, or classes as transparent colors with their names below.

    Args:
        image: Uint8 (H, W, 3), RGB.
        ids: Int (H, W), the map.
        manifest: Manifest of the map.

    Returns:
        Uint8 (H', W, 3), RGB.
    """
    if manifest.kind == 'labels':
        palette = class_colors(len(manifest.classes))
        return np.concatenate([paint(image, ids, palette), legend(manifest.classes, palette.tolist(), image.shape[1])])
    figure = image.copy()
    figure[find_boundaries(ids, mode='inner')] = YELLOW
    return figure


def paint(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Paint labels as transparent colors over an image: uint8 (H, W, 3), RGB.

    Args:
        image: Uint8 (H, W, 3), RGB.
        labels: Int (H, W), not negative; those from K on have no color.
        palette: Uint8 (K, 3), RGB.
        opacity: Opacity of the colors; 1 hides the image.
    """
    figure, labeled = image.copy(), labels < len(palette)
    figure[labeled] = np.rint((1 - opacity) * image[labeled] + opacity * palette[labels[labeled]])
    return figure
