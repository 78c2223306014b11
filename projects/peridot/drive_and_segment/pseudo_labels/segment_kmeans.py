"""Pseudo-labels of Drive&Segment: segments of all images clustered into classes without names."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import sklearn
from mmengine.logging import MMLogger
from PIL import Image

from peridot.drive_and_segment import PROPOSALS
from peridot.drive_and_segment.proposals.clusters import GROUND, NONE
from peridot.drive_and_segment.pseudo_labels.contact_sheet import contact_sheet, nearest_rows
from peridot.drive_and_segment.pseudo_labels.segment_features import (
    SegmentEncoder,
    SegmentImage,
    SegmentInputs,
    encode_images,
)
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import atomic_path
from peridot.labels.clustering import (
    CLUSTERS,
    ClusterGenerator,
    fit_kmeans,
    load_arrays,
    nearest_center,
    number_by_size,
    save_arrays,
    unit_rows,
)
from peridot.labels.generator import check_positive
from peridot.labels.job import MapJob
from peridot.labels.memory import memory_errors
from peridot.labels.networks import device, fingerprint
from peridot.labels.parallel import progress, run_parallel
from peridot.maps import ImageSource, MapFolder
from peridot.maps.manifest import MANIFEST
from peridot.registry import LABEL_GENERATORS

# largest number of segments that k-means sees
FIT_SEGMENTS = 500_000
SHEET = 'clusters.jpg'
# number of segments per cluster in the figure
SHEET_COLUMNS = 12


@LABEL_GENERATORS.register_module('segment-kmeans')
class SegmentKMeansGenerator(ClusterGenerator):
    """Classes without names: the ground is class 0, k-means clusters of the other segments are 1 and up.

    A frozen network gives every segment of every image a feature, scaled to length one. k-means clusters a sample of
    them, spread evenly over the cameras; every segment takes the nearest center. Clusters are numbered by the number of
    their segments, largest first. Pixels without segment get 255.

    Beside the maps it writes `clusters.jpg`, the segments nearest to each center, and `.work/clusters.npz` (`centers`,
    `counts`, `seed`, version of scikit-learn, a hash of the features).

    Args:
        teacher: Config of the image network (registry `MODELS`).
        proposals: Folder of tools/make_proposals.py, relative to the data root.
        num_clusters: Number of clusters in addition to the ground.
        restarts: Runs of k-means, of which the best one counts.
        max_fraction: A cluster with a larger fraction of all segments is an error.
        batch_size: Crops per pass of the network.
        seed: Seed of the sample and of k-means.
        clusters: Folder of maps, relative to the data root, whose clusters are used instead of new ones; for held-out
            images.
        **inputs: Settings of `SegmentInputs`: `pool`, `crop_size`, ...

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(
        self,
        teacher: Mapping,
        proposals: str = PROPOSALS,
        num_clusters: int = 30,
        restarts: int = 10,
        max_fraction: float = 0.5,
        batch_size: int = 64,
        seed: int = 0,
        clusters: str | None = None,
        **inputs: str | float,
    ) -> None:
        if not 2 <= num_clusters <= 254:
            raise ConfigError(f'pseudo_labels.num_clusters={num_clusters} must lie between 2 and 254')
        check_positive('pseudo_labels', batch_size=batch_size, restarts=restarts)
        super().__init__()
        self.teacher = teacher
        self.proposals = proposals
        self.num_clusters = num_clusters
        self.restarts = restarts
        self.max_fraction = max_fraction
        self.batch_size = batch_size
        self.seed = seed
        self.clusters = clusters
        self.inputs = SegmentInputs(**inputs)
        self.classes = ['ground', *(f'cluster_{number:02d}' for number in range(1, num_clusters + 1))]
        self._maps: MapFolder | None = None
        self._known: Path | None = None

    @classmethod
    def settings_from_config(cls, config: Mapping) -> dict:
        """The config's `pseudo_labels`."""
        if 'pseudo_labels' not in config:
            raise ConfigError(
                'the config has no `pseudo_labels`, the settings of the clusters: give a config of '
                'configs/drive_and_segment'
            )
        return dict(config['pseudo_labels'])

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        values = {
            'teacher': dict(self.teacher),
            'proposals': self.proposals,
            'made_from': self._maps.manifest.hash if self._maps is not None else None,
            'num_clusters': self.num_clusters,
            'restarts': self.restarts,
            'seed': self.seed,
            **asdict(self.inputs),
        }
        return values if self._known is None else {**values, 'clusters': fingerprint(self._known)}

    def open(self, job: MapJob) -> None:
        """Open the proposals.

        Raises:
            DataError: They are absent, or some are missing; or there are no clusters to use.
        """
        if not (job.data_root / self.proposals / MANIFEST).is_file():
            raise DataError(
                f'{job.data_root / self.proposals} holds no proposals: make them with `python tools/make_proposals.py '
                'CONFIG`, or set pseudo_labels.proposals to their folder'
            )
        self._maps = MapFolder(self.proposals, job.data_root, kind='superpixels')
        self._maps.check_exist([(source.path, source.token) for source in job.images])
        if self.clusters is not None:
            self._known = known_clusters(job.data_root / self.clusters, self.num_clusters)

    def encode(self, sources: Sequence[ImageSource], workers: int) -> list[str]:
        """Store the features of the segments of images, see `ClusterGenerator`."""
        failures: list[str] = []
        encoder = SegmentEncoder(self.teacher, self.inputs.pool).to(device())
        images = self._readable(sources, workers, failures)
        segments, start = 0, time.perf_counter()
        for image, features in encode_images(encoder, images, self.batch_size, failures):
            arrays = dict(features=features.astype(np.float16), ids=image.ids, boxes=image.boxes, pixels=image.pixels)
            save_arrays(self.stored(image.source), **arrays)
            segments += len(features)
        total = time.perf_counter() - start
        MMLogger.get_current_instance().info(
            f'{segments} segments of {len(sources)} images: {segments / total:.1f} a second, '
            f'{segments / max(encoder.seconds, 1e-9):.1f} a second by the network alone'
        )
        return failures

    def _readable(self, sources: Sequence[ImageSource], workers: int, failures: list[str]) -> Iterator[SegmentImage]:
        """Yield network inputs of the images that can be read; add what is wrong with the others to `failures`."""
        results = run_parallel(self._read, sources, workers)
        for result in progress(results, len(sources), 'segments'):
            if isinstance(result, str):
                failures.append(result)
            else:
                yield result

    def _read(self, source: ImageSource) -> SegmentImage | str:
        """Network inputs of an image, or what is wrong with it."""
        try:
            with memory_errors(f'image {source.path}'):
                image = source.read()
                regions = self._maps.read(source.path, image.shape[:2], source.token)
                return replace(self.inputs(image, regions), source=source)
        except PeridotError as error:
            return str(error)

    def cluster(self, job: MapJob) -> dict[str, np.ndarray]:
        """Centers of the clusters, numbered by size; those of another folder if `clusters` names one."""
        if self._known is not None:
            return load_arrays(self._known)
        stored = [load_arrays(self.stored(source)) for source in job.images]
        owner = np.repeat(np.arange(len(stored)), [len(item['ids']) for item in stored])
        if len(owner) < self.num_clusters:
            raise DataError(
                f'{len(owner)} segments in {len(stored)} images cannot form {self.num_clusters} clusters: set a '
                'smaller pseudo_labels.num_clusters, or make proposals of more images'
            )
        features = np.concatenate([item['features'] for item in stored if len(item['ids'])])
        cameras = np.unique([str(Path(source.key).parent) for source in job.images], return_inverse=True)[1]
        chosen = stratified_sample(cameras[owner], FIT_SEGMENTS, np.random.default_rng(self.seed))
        centers, _ = fit_kmeans(unit_rows(features[chosen]), self.num_clusters, self.restarts, self.seed)
        unit = unit_rows(features)
        centers, labels, counts = number_by_size(centers, nearest_center(unit, centers))
        self._check(counts, len(job.images))
        boxes = np.concatenate([item['boxes'] for item in stored])
        nearest = nearest_rows(unit, centers, labels, SHEET_COLUMNS)
        crops = [[(job.images[owner[row]], boxes[row]) for row in rows] for rows in nearest]
        with atomic_path(job.out / SHEET) as temporary:
            Image.fromarray(contact_sheet(crops, self.classes[1:], counts)).save(temporary, format='JPEG', quality=90)
        origin = dict(sklearn=sklearn.__version__, features=hashlib.sha256(features.tobytes()).hexdigest())
        return dict(centers=centers, counts=counts, seed=self.seed, **origin)

    def _check(self, counts: np.ndarray, images: int) -> None:
        """Refuse empty clusters, and a cluster that takes most segments."""
        fraction = counts.max() / counts.sum()
        problem = None
        if fraction > self.max_fraction:
            problem = f'one of {len(counts)} clusters takes {fraction:.0%} of {counts.sum()} segments'
        elif not counts.all():
            problem = f'{(counts == 0).sum()} of {len(counts)} clusters are empty'
        if problem:
            raise DataError(
                f'{problem} of {images} images: check whether the features in {self._features} distinguish segments '
                '(weights of pseudo_labels.teacher), or set pseudo_labels.num_clusters or max_fraction'
            )

    def generate(self, source: ImageSource) -> np.ndarray:
        """Classes uint8 (H, W); 255 where there is no segment."""
        stored, regions = load_arrays(self.stored(source)), self._maps.read(source.path, source.size(), source.token)
        class_of = np.full(int(regions.max(initial=GROUND)) + 1, self.ignore, np.uint8)
        class_of[GROUND] = 0
        if len(stored['ids']):
            class_of[stored['ids']] = 1 + nearest_center(unit_rows(stored['features']), self._clusters['centers'])
        class_of[NONE] = self.ignore
        return class_of[regions]


def known_clusters(folder: Path, count: int) -> Path:
    """File with the clusters of a folder of maps.

    Args:
        folder: The folder.
        count: Clusters that it must have.

    Raises:
        DataError: It has none, or another number.
    """
    path = folder / '.work' / CLUSTERS
    if not path.is_file():
        raise DataError(
            f'{folder} has no clusters: make its maps with `python tools/make_pseudo_labels.py CONFIG`, or set '
            'pseudo_labels.clusters to the folder of such maps'
        )
    found = len(load_arrays(path)['centers'])
    if found != count:
        raise DataError(f'{folder} has {found} clusters, not {count}: set pseudo_labels.num_clusters={found}')
    return path


def stratified_sample(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows without replacement, as equally from each group as possible.

    Args:
        groups: Int64 (N,), group of each row.
        count: Rows to draw.
        rng: Random generator.

    Returns:
        Int64 rows in ascending order, all of them if there are no more than `count`.
    """
    if len(groups) <= count:
        return np.arange(len(groups))
    order = rng.permutation(len(groups))
    # rank of each row within its group, in the drawn order
    by_group = order[np.argsort(groups[order], kind='stable')]
    sizes = np.bincount(groups)
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_group[np.argsort(rank, kind='stable')[:count]])
