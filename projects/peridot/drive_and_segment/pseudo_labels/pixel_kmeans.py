"""The simplest baseline without labels: k-means over color and position of single pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peridot.labels.clustering import fit_kmeans, nearest_center
from peridot.maps.images import ImageSource


class PixelClusters:
    """Clusters of pixels by color and position.

    Args:
        num_clusters: Number of clusters K.
        per_image: Number of pixels drawn from each image.
        restarts: Runs of k-means, of which the best one counts.
        seed: Seed of the draw and of k-means.
    """

    def __init__(self, num_clusters: int = 31, per_image: int = 200, restarts: int = 3, seed: int = 0) -> None:
        self.num_clusters = num_clusters
        self.per_image = per_image
        self.restarts = restarts
        self.seed = seed
        self.centers: np.ndarray | None = None

    def fit(self, images: Sequence[ImageSource]) -> PixelClusters:
        """Cluster pixels drawn from all images."""
        rng = np.random.default_rng(self.seed)
        drawn = []
        for source in images:
            pixels = pixel_features(source.read())
            drawn.append(pixels[rng.integers(0, len(pixels), self.per_image)])
        self.centers, _ = fit_kmeans(np.concatenate(drawn), self.num_clusters, self.restarts, self.seed)
        return self

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Clusters int64 (H, W) of an RGB image uint8 (H, W, 3), after `fit`."""
        return nearest_center(pixel_features(image), self.centers).reshape(image.shape[:2])


def pixel_features(image: np.ndarray) -> np.ndarray:
    """Red, green, blue, row and column of every pixel, each from 0 to 1.

    Args:
        image: Uint8 (H, W, 3), RGB.

    Returns:
        Float32 (H * W, 5).
    """
    height, width = image.shape[:2]
    row, column = np.mgrid[:height, :width].astype(np.float32)
    position = np.stack([row / max(1, height - 1), column / max(1, width - 1)], -1)
    return np.concatenate([image.astype(np.float32) / 255, position], -1).reshape(-1, 5)
