"""Stage B of Drive&Segment: segments of all images clustered into classes without names, as partial label maps."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import sklearn
import torch
from mmengine.logging import MMLogger
from PIL import Image
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from peridot.drive_and_segment.proposals.clusters import GROUND, NONE
from peridot.drive_and_segment.proposals.make_proposals import FOLDER
from peridot.drive_and_segment.pseudo_labels.segment_features import (
    POOLS,
    SegmentEncoder,
    SegmentImage,
    crop_segments,
    encode_images,
    whole_image,
)
from peridot.errors import ConfigError, DataError, PeridotError
from peridot.files import atomic_path
from peridot.labels.distributed import in_first_process, raise_together
from peridot.labels.generator import LabelGenerator, check_positive
from peridot.labels.job import MapJob
from peridot.labels.networks import fingerprint
from peridot.labels.parallel import progress, run_parallel
from peridot.labels.runner import is_done
from peridot.maps import ImageSource, MapFolder
from peridot.maps.manifest import MANIFEST
from peridot.registry import LABEL_GENERATORS

CLUSTERS = 'clusters.npz'
SHEET = 'clusters.jpg'
BLOCK = 65536


@LABEL_GENERATORS.register_module('segment-kmeans')
class SegmentKMeansGenerator(LabelGenerator):
    """Classes without names: the ground is class 0, k-means clusters of the other segments are 1 and up.

    A frozen network gives every segment of every image a feature, scaled to length one. k-means clusters a sample of
    them; all take the nearest center. Clusters are numbered by the number of their segments, largest first. Pixels
    without segment get 255.

    Beside the maps it writes `clusters.jpg`, the segments nearest to each center, and `.work/clusters.npz` (`centers`,
    `counts`, `seed`, version of scikit-learn, a hash of the features).

    Args:
        teacher: Config of the image network (registry `MODELS`).
        proposals: Folder of tools/make_proposals.py, relative to the data root.
        num_clusters: Clusters beside the ground.
        pool: What the feature is, see `SegmentEncoder`.
        crop_size: Side of the crops that the network sees, in pixels.
        image_height: Rows of the images that the network sees, with pool='mask'.
        context: Boxes of the crops grow by this share of their sides.
        mask_background: Hide what is in a segment's box but not of the segment.
        fit_segments: Largest number of segments that k-means sees, spread evenly over the cameras.
        restarts: Runs of k-means; the best stays.
        max_share: A cluster with a larger share of all segments is an error.
        batch_size: Crops per pass of the network.
        sheet_columns: Segments per cluster in the picture.
        seed: Seed of sample and k-means.
        clusters: Folder of maps, relative to the data root, whose clusters these images take in place of their own; for
            images that clusters must not know.

    Raises:
        ConfigError: A setting makes no sense.
    """

    kind = 'labels'
    ignore = 255

    def __init__(
        self,
        teacher: Mapping,
        proposals: str = FOLDER,
        num_clusters: int = 30,
        pool: str = 'class',
        crop_size: int = 224,
        image_height: int = 448,
        context: float = 0.0,
        mask_background: bool = False,
        fit_segments: int = 500_000,
        restarts: int = 10,
        max_share: float = 0.5,
        batch_size: int = 64,
        sheet_columns: int = 12,
        seed: int = 0,
        clusters: str | None = None,
    ) -> None:
        if not 2 <= num_clusters <= 254:
            raise ConfigError(f'pseudo_classes.num_clusters={num_clusters} must lie between 2 and 254')
        if pool not in POOLS:
            raise ConfigError(f'pseudo_classes.pool={pool!r} must be one of {", ".join(POOLS)}')
        sizes = dict(crop_size=crop_size, image_height=image_height, batch_size=batch_size, restarts=restarts)
        check_positive('pseudo_classes', fit_segments=fit_segments, sheet_columns=sheet_columns, **sizes)
        self.teacher, self.proposals, self.num_clusters = teacher, proposals, num_clusters
        self.pool, self.crop_size, self.image_height = pool, crop_size, image_height
        self.context, self.mask_background = context, mask_background
        self.fit_segments, self.restarts, self.max_share, self.seed = fit_segments, restarts, max_share, seed
        self.batch_size, self.sheet_columns, self.clusters = batch_size, sheet_columns, clusters
        self.classes = ['ground', *(f'cluster_{number:02d}' for number in range(1, num_clusters + 1))]
        self._maps: MapFolder | None = None
        self._known: Path | None = None
        self._features: Path | None = None
        self._centers: np.ndarray | None = None

    @classmethod
    def settings_from_config(cls, config: Mapping) -> dict:
        """The config's `pseudo_classes`."""
        if 'pseudo_classes' not in config:
            raise ConfigError(
                'the config has no `pseudo_classes`, the settings of the clusters: give a config of '
                'configs/drive_and_segment'
            )
        return dict(config['pseudo_classes'])

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        names = ('proposals', 'num_clusters', 'pool', 'crop_size', 'image_height', 'context', 'mask_background')
        names += ('fit_segments', 'restarts', 'seed')
        made_from = self._maps.manifest.hash if self._maps is not None else None
        values = {
            'teacher': dict(self.teacher),
            **{name: getattr(self, name) for name in names},
            'made_from': made_from,
        }
        return values if self._known is None else {**values, 'clusters': fingerprint(self._known)}

    def open(self, job: MapJob) -> None:
        """Open the proposals.

        Raises:
            DataError: They are absent, or some are missing; or there are no clusters to take.
        """
        if not (job.data_root / self.proposals / MANIFEST).is_file():
            raise DataError(
                f'{job.data_root / self.proposals} holds no proposals: make them with `python tools/make_proposals.py '
                'CONFIG`, or set pseudo_classes.proposals to their folder'
            )
        self._maps = MapFolder(self.proposals, job.data_root, kind='superpixels')
        self._maps.check_exist([(source.path, source.token) for source in job.images])
        if self.clusters is not None:
            self._known = known_clusters(job.data_root / self.clusters, self.num_clusters)

    def prepare(self, job: MapJob) -> None:
        """Features of the segments of all images that need them, then the clusters."""
        self._features = job.work_dir / 'features'
        clusters, maps, sources = job.work_dir / CLUSTERS, job.maps(), job.shard()
        if clusters.is_file():
            sources = [source for source in sources if not is_done(maps, source)]
        self._encode([source for source in sources if not self._stored(source).is_file()], job)
        in_first_process(partial(self._fit, job, clusters))
        self._centers = _load(clusters)['centers']

    def generate(self, source: ImageSource) -> np.ndarray:
        """(H, W) uint8 classes; 255 where no segment is."""
        stored, regions = _load(self._stored(source)), self._maps.read(source.path, source.size(), source.token)
        class_of = np.full(int(regions.max(initial=GROUND)) + 1, self.ignore, np.uint8)
        class_of[GROUND] = 0
        if len(stored['ids']):
            class_of[stored['ids']] = 1 + nearest_center(_unit(stored['features']), self._centers)
        class_of[NONE] = self.ignore
        return class_of[regions]

    def finish(self, job: MapJob) -> None:
        """Remove the features; clusters and picture stay."""
        shutil.rmtree(self._features, ignore_errors=True)

    def _encode(self, sources: Sequence[ImageSource], job: MapJob) -> None:
        """Features of the segments of images into the work folder."""
        failures: list[str] = []
        if sources:
            device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
            encoder = SegmentEncoder(self.teacher, self.pool).to(device)
            read, clock, start = [], {'network': 0.0}, time.perf_counter()
            images = self._readable(sources, job.workers, read, failures)
            segments = 0
            for number, features in enumerate(encode_images(encoder, images, self.batch_size, clock)):
                source, image = read[number]
                read[number] = None
                segments += len(features)
                _save(
                    self._stored(source),
                    features=features.astype(np.float16),
                    ids=image.ids,
                    boxes=image.boxes,
                    pixels=image.pixels,
                )
            total = time.perf_counter() - start
            MMLogger.get_current_instance().info(
                f'{segments} segments of {len(sources)} images: {segments / total:.1f} a second, '
                f'{segments / max(clock["network"], 1e-9):.1f} a second by the network alone'
            )
        raise_together(failures, len(job.images))

    def _readable(
        self, sources: Sequence[ImageSource], workers: int, read: list, failures: list[str]
    ) -> Iterator[SegmentImage]:
        """Network inputs of the images that can be read; `read` gets (source, image without inputs) of each."""
        results = run_parallel(self._read, sources, workers)
        for source, (failure, image) in zip(sources, progress(results, len(sources), 'segments')):
            if failure:
                failures.append(failure)
                continue
            read.append((source, SegmentImage(image.ids, image.boxes, image.pixels, image.inputs[:0])))
            yield image

    def _read(self, source: ImageSource) -> tuple[str | None, SegmentImage | None]:
        try:
            image = source.read()
            regions = self._maps.read(source.path, image.shape[:2], source.token)
        except PeridotError as error:
            return str(error), None
        if self.pool == 'mask':
            return None, whole_image(image, regions, self.image_height)
        return None, crop_segments(image, regions, self.crop_size, self.context, self.mask_background)

    def _fit(self, job: MapJob, path: Path) -> None:
        """Cluster the features, unless that was done."""
        if path.is_file():
            return
        if self._known is not None:
            _save(path, **_load(self._known))
            return
        stored = [_load(self._stored(source)) for source in job.images]
        owner = np.repeat(np.arange(len(stored)), [len(item['ids']) for item in stored])
        if len(owner) < self.num_clusters:
            raise DataError(
                f'{len(owner)} segments in {len(stored)} images cannot make {self.num_clusters} clusters: set a '
                'smaller pseudo_classes.num_clusters, or make proposals of more images'
            )
        features = np.concatenate([item['features'] for item in stored if len(item['ids'])])
        cameras = np.unique([str(Path(source.key).parent) for source in job.images], return_inverse=True)[1]
        rng = np.random.default_rng(self.seed)
        chosen = stratified_sample(cameras[owner], self.fit_segments, rng)
        centers = fit_centers(_unit(features[chosen]), self.num_clusters, self.restarts, self.seed)
        unit = _unit(features)
        centers, labels, counts = number_by_size(centers, nearest_center(unit, centers))
        self._check(counts, len(job.images))
        boxes = np.concatenate([item['boxes'] for item in stored])
        nearest = nearest_rows(unit, centers, labels, self.sheet_columns)
        crops = [[(job.images[owner[row]], boxes[row]) for row in rows] for rows in nearest]
        with atomic_path(job.out / SHEET) as temporary:
            Image.fromarray(contact_sheet(crops, self.classes[1:], counts)).save(temporary, format='JPEG', quality=90)
        _save(
            path,
            centers=centers,
            counts=counts,
            seed=self.seed,
            sklearn=sklearn.__version__,
            features=hashlib.sha256(features.tobytes()).hexdigest(),
        )

    def _check(self, counts: np.ndarray, images: int) -> None:
        """Refuse clusters that are empty, or one that swallows the others."""
        share = counts.max() / counts.sum()
        problem = None
        if share > self.max_share:
            problem = f'one of {len(counts)} clusters takes {share:.0%} of {counts.sum()} segments'
        elif not counts.all():
            problem = f'{(counts == 0).sum()} of {len(counts)} clusters are empty'
        if problem:
            raise DataError(
                f'{problem} of {images} images: look whether the features in {self._features} tell segments apart '
                '(weights of pseudo_classes.teacher), or set pseudo_classes.num_clusters or max_share'
            )

    def _stored(self, source: ImageSource) -> Path:
        return self._features / f'{source.key}.npz'


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
            f'{folder} has no clusters: make its maps with `python tools/make_pseudo_classes.py CONFIG`, or set '
            'pseudo_classes.clusters to the folder of such maps'
        )
    found = len(_load(path)['centers'])
    if found != count:
        raise DataError(f'{folder} has {found} clusters, not {count}: set pseudo_classes.num_clusters={found}')
    return path


def fit_centers(features: np.ndarray, count: int, restarts: int, seed: int) -> np.ndarray:
    """Centers of k-means.

    Args:
        features: (N, C) float32.
        count: Clusters K.
        restarts: Runs, the best stays.
        seed: Seed.

    Returns:
        np.ndarray: (K, C) float32.
    """
    # one thread: sums of several threads come in any order, and classes must be repeatable
    with threadpool_limits(limits=1):
        model = KMeans(count, init='k-means++', n_init=restarts, max_iter=300, random_state=seed).fit(features)
    return model.cluster_centers_.astype(np.float32)


def nearest_center(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(N,) int64 nearest of the centers (K, C) to features (N, C), the first among equals."""
    labels = np.empty(len(features), np.int64)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        labels[start : start + BLOCK] = ((centers**2).sum(1) - 2 * block @ centers.T).argmin(1)
    return labels


def number_by_size(centers: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centers (K, C) and labels (N,) numbered by falling size of the clusters, and the sizes (K,)."""
    counts = np.bincount(labels, minlength=len(centers))
    order = np.argsort(-counts, kind='stable')
    return centers[order], np.argsort(order)[labels], counts[order]


def stratified_sample(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn without replacement, as many as possible from each group alike.

    Args:
        groups: (N,) int64 group of each row.
        count: Rows to draw.
        rng: Draws them.

    Returns:
        np.ndarray: int64 rows in rising order, all of them if there are no more than `count`.
    """
    if len(groups) <= count:
        return np.arange(len(groups))
    order = rng.permutation(len(groups))
    # the place of each row within its group, in the drawn order
    by_group = order[np.argsort(groups[order], kind='stable')]
    sizes = np.bincount(groups)
    place = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_group[np.argsort(place, kind='stable')[:count]])


def nearest_rows(features: np.ndarray, centers: np.ndarray, labels: np.ndarray, count: int) -> list[np.ndarray]:
    """For each cluster its rows nearest to the center, at most `count`, nearest first."""
    distance = ((features - centers[labels]) ** 2).sum(1)
    rows = []
    for cluster in range(len(centers)):
        members = np.flatnonzero(labels == cluster)
        rows.append(members[np.argsort(distance[members], kind='stable')[:count]])
    return rows


def contact_sheet(
    clusters: Sequence[Sequence[tuple[ImageSource, np.ndarray]]],
    names: Sequence[str],
    counts: np.ndarray,
    side: int = 96,
) -> np.ndarray:
    """Picture with a row of crops for every cluster.

    Args:
        clusters: For each cluster (image, box (4,) left, top, right, bottom) of its crops.
        names: Names of the clusters.
        counts: (K,) sizes of the clusters.
        side: Side of a crop in pixels.

    Returns:
        np.ndarray: (K * side, width, 3) uint8 RGB.
    """
    text, columns = 2 * side, max(map(len, clusters))
    sheet = np.full((len(clusters) * side, text + columns * side, 3), 255, np.uint8)
    for row, (crops, name, count) in enumerate(zip(clusters, names, counts)):
        for line, words in enumerate((name, f'{count} segments')):
            place = (6, row * side + side // 2 + 20 * line)
            cv2.putText(sheet, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for column, (source, box) in enumerate(crops):
            crop = Image.fromarray(source.read()).resize((side - 2, side - 2), Image.Resampling.BICUBIC, box=tuple(box))
            top, left = row * side, text + column * side
            sheet[top : top + side - 2, left : left + side - 2] = np.asarray(crop)
    return sheet


def _unit(features: np.ndarray) -> np.ndarray:
    """Features of length one, float32."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)


def _save(path: Path, **arrays) -> None:
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **arrays)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f'{path} cannot be read ({error}): delete it and repeat the same command') from None
