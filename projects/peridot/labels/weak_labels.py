"""Weak semantic labels without any annotation: clusters of an image network's features."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from mmengine.logging import MMLogger

from peridot.errors import ConfigError, DataError, PeridotError
from peridot.labels.clustering import (
    ClusterGenerator,
    fit_kmeans,
    load_arrays,
    nearest_center,
    number_by_size,
    save_arrays,
    unit_rows,
)
from peridot.labels.job import MapJob
from peridot.labels.memory import memory_errors
from peridot.labels.parallel import progress, run_parallel
from peridot.labels.superpixels import SlicGenerator
from peridot.maps.folder import UNLABELED, MapFolder
from peridot.maps.images import ImageSource, nearest_resize, resize_image, size_at_height
from peridot.maps.manifest import MANIFEST
from peridot.maps.tools import TOOLS
from peridot.models.functional import superpixel_mean
from peridot.registry import LABEL_GENERATORS, MODELS

# runs of k-means, of which the best one counts
RESTARTS = 3


@LABEL_GENERATORS.register_module('kmeans')
class KMeansGenerator(ClusterGenerator):
    """Clusters of teacher features, one class per cluster, one label per superpixel.

    Features are pooled per superpixel and image and kept as float16 in a work folder; a seeded sample of them is
    standardized, scaled to length one and clustered by k-means; every superpixel then takes the nearest cluster.
    Clusters are numbered by the image area they cover, largest first.

    Args:
        teacher: Config of the image network (registry `MODELS`); by default `model.teacher` of the config.
        num_classes: Number of clusters.
        image_height: Height in pixels at which the teacher sees the images; the width follows.
        superpixels: Folder of superpixel maps, relative to the data root. None makes SLIC superpixels on
            images reduced to `slic_height`, which is fast and good enough for labels.
        n_segments: SLIC superpixels per image.
        compactness: SLIC's weight of distance against color difference.
        slic_height: Height in pixels of the images SLIC works on.
        fit_images: Largest number of images whose features are clustered.
        seed: Seed of the sample and of k-means.
    """

    def __init__(
        self,
        teacher: Mapping,
        num_classes: int = 16,
        image_height: int = 384,
        superpixels: str | None = None,
        n_segments: int = 150,
        compactness: float = 6.0,
        slic_height: int = 224,
        fit_images: int = 500,
        seed: int = 0,
    ) -> None:
        if not 2 <= num_classes <= UNLABELED:
            raise ConfigError(f'kmeans: num_classes={num_classes} must lie between 2 and {UNLABELED}')
        super().__init__()
        self.teacher = teacher
        self.num_classes = num_classes
        self.image_height = image_height
        self.superpixels = superpixels
        self.slic_height = slic_height
        self.fit_images = fit_images
        self.seed = seed
        # the published smoothing is 3 pixels at 900 rows
        self.slic = SlicGenerator(n_segments, compactness, sigma=3.0 * slic_height / 900)
        self.classes = [f'cluster_{index:02d}' for index in range(num_classes)]
        self._maps: MapFolder | None = None

    @classmethod
    def settings_from_config(cls, config: Mapping) -> dict:
        """The teacher of a pre-training config."""
        teacher = config.get('model', {}).get('teacher')
        if teacher is None:
            raise ConfigError('the config has no model.teacher, whose features kmeans clusters')
        return {'teacher': teacher}

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        shared = {
            'teacher': dict(self.teacher),
            'num_classes': self.num_classes,
            'image_height': self.image_height,
            'fit_images': self.fit_images,
            'seed': self.seed,
        }
        if self.superpixels is not None:
            return {**shared, 'superpixels': str(self.superpixels)}
        slic = {'n_segments': self.slic.num_ids, 'compactness': self.slic.compactness}
        return {**shared, **slic, 'slic_height': self.slic_height}

    def open(self, job: MapJob) -> None:
        """Open the folder of superpixels, if there is one."""
        if self.superpixels is not None:
            self._maps = MapFolder(self.superpixels, job.data_root, kind='superpixels')

    def generate(self, source: ImageSource) -> np.ndarray:
        """Label map uint8 (H, W) from the stored features; 255 where there is no superpixel."""
        stored = load_arrays(self.stored(source))
        features = _normalized(stored['features'].astype(np.float32), self._clusters)
        labels = nearest_center(features, self._clusters['centers']).astype(np.uint8)
        labels[stored['counts'] == 0] = self.ignore
        if self._maps is None:
            return nearest_resize(labels[stored['ids']], source.size())
        ids = self._maps.read(source.path, source.size(), source.token)
        return np.append(labels, np.uint8(self.ignore))[np.minimum(ids, len(labels))]

    def encode(self, sources: Sequence[ImageSource], workers: int) -> list[str]:
        """Pooled teacher features of images, see `ClusterGenerator`."""
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        teacher = MODELS.build(dict(self.teacher)).to(device).eval()
        with _one_thread():
            results = self._pooled(teacher, device, sources, workers)
            return [failure for failure in progress(results, len(sources), 'features') if failure]

    def _pooled(
        self, teacher: torch.nn.Module, device: torch.device, sources: Sequence[ImageSource], workers: int
    ) -> Iterator[str | None]:
        """For each image what went wrong, or None. The workers do everything but the work of a GPU."""
        if device.type == 'cpu':
            yield from run_parallel(partial(self._pool_image, teacher, device), sources, workers)
            return
        for source, loaded in zip(sources, run_parallel(self._load_image, sources, workers)):
            yield self._pool_image(teacher, device, source, loaded)

    def _pool_image(
        self, teacher: torch.nn.Module, device: torch.device, source: ImageSource, loaded: tuple | None = None
    ) -> str | None:
        """Store the pooled features of one image in the work folder; returns what went wrong, or None."""
        failure, image, ids = loaded or self._load_image(source)
        if failure:
            return failure
        try:
            # one image at a time: the result must not depend on what else is in a batch
            with memory_errors(f'image {source.path}'):
                features, counts = self._pool(teacher, image, ids, device)
        except DataError as error:
            return str(error)
        extra = {} if self._maps is not None else {'ids': ids}
        save_arrays(self.stored(source), features=features, counts=counts, **extra)
        return None

    def _load_image(self, source: ImageSource) -> tuple[str | None, np.ndarray | None, np.ndarray | None]:
        """What went wrong or None, the image uint8 (h, w, 3) for the teacher, and its superpixels."""
        try:
            with memory_errors(f'image {source.path}'):
                return None, *self._read(source)
        except PeridotError as error:
            return str(error), None, None

    def _read(self, source: ImageSource) -> tuple[np.ndarray, np.ndarray]:
        size = source.size()
        heights = [self.image_height] if self._maps is not None else [self.image_height, self.slic_height]
        image = source.read(at_least=size_at_height(size, max(heights)))
        if self._maps is not None:
            ids = self._maps.read(source.path, size, source.token)
        else:
            ids = self.slic.segment(resize_image(image, size_at_height(size, self.slic_height))).astype(np.uint16)
        height, width = size_at_height(size, self.image_height)
        return resize_image(image, (height, max(32, round(width / 32) * 32))), ids

    def _pool(
        self, teacher: torch.nn.Module, image: np.ndarray, ids: np.ndarray, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features float16 (S, C) and pixel counts (S,) of an image's superpixels."""
        num_ids = self._maps.num_ids if self._maps is not None else self.slic.num_ids
        with torch.no_grad():
            features = teacher(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(device)).float()
        ids = torch.from_numpy(ids.astype(np.int64))[None].to(device)
        pooled, counts = superpixel_mean(features, ids, num_ids, teacher.align_corners, normalize=False)
        return pooled[0].half().cpu().numpy(), counts[0].cpu().numpy()

    def cluster(self, job: MapJob) -> dict[str, np.ndarray]:
        """Standardize and cluster a seeded sample of the images; clusters are numbered by area."""
        order = np.random.default_rng(self.seed).permutation(len(job.images))[: self.fit_images]
        stored = [load_arrays(self.stored(job.images[index])) for index in sorted(order)]
        area = np.concatenate([item['counts'] / max(item['counts'].sum(), 1) for item in stored])
        features = np.concatenate([item['features'] for item in stored])[area > 0].astype(np.float32)
        area = area[area > 0]
        if len(features) < self.num_classes:
            raise DataError(
                f'{len(features)} superpixels in {len(stored)} images cannot form {self.num_classes} '
                'clusters: give a smaller num_classes=N or more images'
            )
        scale = _scale(features, area)
        centers, labels = fit_kmeans(_normalized(features, scale), self.num_classes, RESTARTS, self.seed, area)
        centers, _, areas = number_by_size(centers, labels, area)
        fractions = areas / area.sum()
        listed = ', '.join(f'{value:.1%}' for value in fractions)
        MMLogger.get_current_instance().info(f'{len(features)} superpixels; fraction of each cluster: {listed}')
        return {**scale, 'centers': centers, 'fraction': fractions}


@LABEL_GENERATORS.register_module('sam+kmeans')
class SamKMeansGenerator(KMeansGenerator):
    """Clusters of teacher features, one label per region of Segment Anything; otherwise like `KMeansGenerator`.

    The regions are made first, by `tools/make_superpixels.py --generator sam`. Pixels without a region have the
    ignore value 255.

    Args:
        teacher: Config of the image network (registry `MODELS`); by default `model.teacher` of the config.
        superpixels: Folder of the regions, relative to the data root.
        num_classes: Number of clusters.
        image_height: Height in pixels at which the teacher sees the images; the width follows.
        fit_images: Largest number of images whose features are clustered.
        seed: Seed of the sample and of k-means.
    """

    def __init__(
        self,
        teacher: Mapping,
        superpixels: str = 'superpixels/sam',
        num_classes: int = 16,
        image_height: int = 384,
        fit_images: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(teacher, num_classes, image_height, superpixels, fit_images=fit_images, seed=seed)

    def open(self, job: MapJob) -> None:
        """Open the folder of regions.

        Raises:
            DataError: It is absent or holds no superpixels.
        """
        if not (job.data_root / self.superpixels / MANIFEST).is_file():
            raise DataError(
                f'{job.data_root / self.superpixels} holds no regions of Segment Anything: make them with `python '
                f'{TOOLS["superpixels"]} CONFIG --generator sam --options checkpoint=FILE` or give --options '
                'superpixels=DIR'
            )
        super().open(job)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread here and in forked workers: several would compete, and sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _scale(features: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Weighted mean and standard deviation of features (N, C), float32 (C,) each."""
    mean = np.average(features, axis=0, weights=weights)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights)) + 1e-6
    return {'mean': mean.astype(np.float32), 'deviation': deviation.astype(np.float32)}


def _normalized(features: np.ndarray, scale: Mapping[str, np.ndarray]) -> np.ndarray:
    """Standardized features of length one."""
    return unit_rows((features - scale['mean']) / scale['deviation'])
