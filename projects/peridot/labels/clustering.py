"""What generators share whose classes are k-means clusters of an image network's features."""

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
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.labels.runner import in_first_process, is_done, raise_together
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
            What went wrong, for every image that has none.
        """
        raise NotImplementedError

    def cluster(self, job: MapJob) -> Mapping[str, np.ndarray]:
        """Clusters of the stored features of all images: arrays to keep."""
        raise NotImplementedError

    def prepare(self, job: MapJob) -> None:
        """Features of all images that need them, then the clusters, unless they were found before."""
        self._features = job.work_dir / 'features'
        path, sources = job.work_dir / CLUSTERS, job.shard()
        if path.is_file():
            maps = job.maps()
            sources = [source for source in sources if not is_done(maps, source)]
        sources = [source for source in sources if not self.stored(source).is_file()]
        failures = self.encode(sources, job.workers) if sources else []
        raise_together(failures, len(job.images))
        in_first_process(partial(self._find_clusters, job, path))
        self._clusters = load_arrays(path)

    def finish(self, job: MapJob) -> None:
        """Remove the features."""
        shutil.rmtree(self._features, ignore_errors=True)

    def stored(self, source: ImageSource) -> Path:
        """File with the features of an image."""
        return self._features / f'{source.key}.npz'

    def _find_clusters(self, job: MapJob, path: Path) -> None:
        if not path.is_file():
            save_arrays(path, **self.cluster(job))


def fit_kmeans(
    features: np.ndarray, count: int, restarts: int, seed: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of k-means.

    Args:
        features: (N, C) float32.
        count: Clusters K.
        restarts: Runs, the best stays.
        seed: Seed.
        weights: (N,) weights of the features, None for equal ones.

    Returns:
        (K, C) float32 centers and (N,) cluster of each feature.
    """
    # one thread: sums of several threads come in any order, and labels must be repeatable
    with threadpool_limits(limits=1):
        model = KMeans(count, n_init=restarts, random_state=seed).fit(features, sample_weight=weights)
    return model.cluster_centers_.astype(np.float32), model.labels_


def nearest_center(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(N,) int64 nearest of the centers (K, C) to features (N, C), the first among equals."""
    labels = np.empty(len(features), np.int64)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        labels[start : start + BLOCK] = ((centers**2).sum(1) - 2 * block @ centers.T).argmin(1)
    return labels


def number_by_size(
    centers: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number clusters by falling size.

    Args:
        centers: (K, C).
        labels: (N,) cluster of each feature.
        weights: (N,) what a feature adds to the size of its cluster, None counts features.

    Returns:
        Centers (K, C) and labels (N,) in the new numbering, and the sizes (K,).
    """
    sizes = np.bincount(labels, weights, minlength=len(centers))
    order = np.argsort(-sizes, kind='stable')
    return centers[order], np.argsort(order)[labels], sizes[order]


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Features (N, C) of length one, float32."""
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
