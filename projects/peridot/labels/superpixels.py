"""Superpixel generators: each image is cut into regions that follow its edges."""

import cv2
import numpy as np
import skimage
from skimage.segmentation import slic

from peridot.errors import ConfigError
from peridot.labels.generator import LabelGenerator, nearest_resize
from peridot.registry import LABEL_GENERATORS


@LABEL_GENERATORS.register_module('slic')
class SlicGenerator(LabelGenerator):
    """SLIC superpixels by scikit-image; the defaults are those published with SLidR.

    Args:
        n_segments: Wanted number of superpixels, and the declared maximum (`num_ids`).
        compactness: Weight of distance against colour difference.
        sigma: Width of the Gaussian smoothing, in pixels of the full image.
        scale: Size of the image SLIC works on, relative to the full image; 1 is the published way. The map
            is brought back to full size by nearest neighbour, and `sigma` shrinks along.
    """

    kind = 'superpixels'
    version = f'scikit-image {skimage.__version__}'

    def __init__(self, n_segments: int = 150, compactness: float = 6.0, sigma: float = 3.0, scale: float = 1.0) -> None:
        if not 0 < scale <= 1:
            raise ConfigError(f'slic: scale={scale} must be above 0 and at most 1 (1 is the published way)')
        if not 1 <= n_segments <= 65535:
            raise ConfigError(f'slic: n_segments={n_segments} must lie between 1 and 65535 (published: 150)')
        self.num_ids = int(n_segments)
        self.compactness, self.sigma, self.scale = float(compactness), float(sigma), float(scale)

    @property
    def parameters(self) -> dict:
        return {
            'n_segments': self.num_ids,
            'compactness': self.compactness,
            'sigma': self.sigma,
            'scale': self.scale,
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB image to (H, W) int64 ids below `num_ids`, each id one region."""
        size = image.shape[:2]
        return nearest_resize(self.segment(self.reduce(image)), size)

    def reduce(self, image: np.ndarray) -> np.ndarray:
        """The image at the size SLIC works on."""
        height, width = (max(1, round(side * self.scale)) for side in image.shape[:2])
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def segment(self, reduced: np.ndarray) -> np.ndarray:
        """SLIC on an image that `reduce` made (or that was decoded at that size)."""
        ids = slic(
            reduced,
            n_segments=self.num_ids,
            compactness=self.compactness,
            sigma=self.sigma * self.scale,
            start_label=0,
            channel_axis=-1,
        )
        # Its grid may hold a few more cells than were asked for, depending on the shape of the image.
        return merge_smallest(ids, self.num_ids)


def merge_smallest(ids: np.ndarray, limit: int) -> np.ndarray:
    """Merge the smallest regions of a partition until at most `limit` remain.

    The smallest region joins the neighbour it shares the longest border with (the lowest id among equals),
    again and again; then ids are renumbered without gaps, in their old order.

    Args:
        ids: (H, W) non-negative ids; every pixel has one.
        limit: Largest number of regions.

    Returns:
        (H, W) int64 ids in [0, limit).
    """
    shape = ids.shape
    names, ids = np.unique(ids, return_inverse=True)
    count, ids = len(names), ids.reshape(shape)
    if count <= limit:
        return ids
    areas = np.bincount(ids.ravel(), minlength=count).astype(np.float64)
    borders = _border_lengths(ids, count)
    target = np.arange(count)
    for _ in range(count - limit):
        small = int(areas.argmin())
        neighbour = int(borders[small].argmax())
        target[target == small] = neighbour
        areas[neighbour] += areas[small]
        areas[small] = np.inf
        borders[neighbour] += borders[small]
        borders[:, neighbour] += borders[:, small]
        borders[small] = borders[:, small] = 0
        borders[neighbour, neighbour] = 0
    return np.unique(target, return_inverse=True)[1][ids]


def _border_lengths(ids: np.ndarray, count: int) -> np.ndarray:
    """(count, count) number of pixel edges between every two regions."""
    lengths = np.zeros(count * count, dtype=np.int64)
    for first, second in ((ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])):
        lengths += np.bincount((first.astype(np.int64) * count + second).ravel(), minlength=count * count)
    lengths = lengths.reshape(count, count)
    lengths = lengths + lengths.T
    np.fill_diagonal(lengths, 0)
    return lengths
