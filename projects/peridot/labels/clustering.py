"""Base of generators whose classes are k-means clusters of an image network's features."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from peridot.errors import DataError
from peridot.files import atomic_path
from peridot.labels.distributed import in_first_process, raise_together
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.labels.runner import is_done
from peridot.maps.folder import UNLABELED
from peridot.maps.images import ImageSource

CLUSTERS = 'clusters.npz'
BLOCK = 65536


class ClusterGenerator(LabelGenerator):
    """Label maps in three stages: features of all images, clusters of these features, maps of the clusters.

    Features lie in the job's work folder until all maps exist. The clusters stay there, so that images added later get
    labels of the same kind.

    Subclasses store the features of an image at `stored(source)` (`encode`), cluster them (`cluster`) and make the maps
    (`generate`) from them and from `_clusters`, what `cluster` returned.
    """

    kind = 'labels'
    ignore = UNLABELED

    def __init__(self) -> None:
        self._clusters: dict[str, np.ndarray] = {}
        self._features: Path | None = None

    def encode(self, sources: Sequence[ImageSource], workers: int) -> list[str]:
        """Store the features of some images.

        Args:
            sources: At least one image.
            workers: Processes that read images.

        Returns:
            What went wrong with each image that could not be encoded.
        """
        raise NotImplementedError

    def cluster(self, job: MapJob) -> Mapping[str, np.ndarray]:
        """Cluster the stored features of all images; returns the arrays to keep."""
        raise NotImplementedError

    def prepare(self, job: MapJob) -> None:
        """Encode all images that need it, then find the clusters unless they were found before."""
        self._features = job.work_dir / 'features'
        path, sources = job.work_dir / CLUSTERS, job.shard()
        if path.is_file():
            maps = job.maps()
            sources = [source for source in sources if not is_done(maps, source)]
        sources = [source for source in sources if not self.stored(source).is_file()]
        failures = self.encode(sources, job.workers) if sources else []
        raise_together(failures, len(job.images))
        # handed over, as a network file system may show other machines a new file late
        self._clusters = in_first_process(partial(self._find_clusters, job, path))

    def finish(self, job: MapJob) -> None:
        """Remove the features."""
        shutil.rmtree(self._features, ignore_errors=True)

    def stored(self, source: ImageSource) -> Path:
        """File with the features of an image."""
        return self._features / f'{source.key}.npz'

    def _find_clusters(self, job: MapJob, path: Path) -> dict[str, np.ndarray]:
        if not path.is_file():
            save_arrays(path, **self.cluster(job))
        return load_arrays(path)


def fit_kmeans(
    features: np.ndarray, count: int, restarts: int, seed: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster features by k-means.

    Args:
        features: Float32 (N, C).
        count: Number of clusters K.
        restarts: Number of runs, of which the best one counts.
        seed: Seed of k-means.
        weights: Float (N,), None for equal ones.

    Returns:
        Centers float32 (K, C), and the cluster of each feature, int (N,).
    """
    # with several threads the order of sums varies, and labels must be reproducible
    with threadpool_limits(limits=1):
        model = KMeans(count, n_init=restarts, random_state=seed).fit(features, sample_weight=weights)
    return model.cluster_centers_.astype(np.float32), model.labels_


def nearest_center(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Nearest of the centers (K, C) for each feature (N, C), the first among equals: int64 (N,)."""
    labels = np.empty(len(features), np.int64)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        labels[start : start + BLOCK] = ((centers**2).sum(1) - 2 * block @ centers.T).argmin(1)
    return labels


def number_by_size(
    centers: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number clusters by decreasing size.

    Args:
        centers: Float (K, C).
        labels: Int (N,), cluster of each feature.
        weights: Float (N,), how much a feature adds to the size of its cluster; None counts features.

    Returns:
        Centers (K, C) and labels (N,) in the new numbering, and the sizes (K,).
    """
    sizes = np.bincount(labels, weights, minlength=len(centers))
    order = np.argsort(-sizes, kind='stable')
    return centers[order], np.argsort(order)[labels], sizes[order]


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Features (N, C) scaled to length one, float32."""
    features = features.astype(np.float32, copy=False)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays to an npz file, atomically."""
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **arrays)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays of an npz file.

    Raises:
        DataError: The file is absent or damaged.
    """
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f'{path} cannot be read ({error}): delete it and repeat the same command') from None
