"""True classes of synthetic images as weak labels, with errors of a chosen kind and rate."""

import hashlib
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import label as connected_regions

from peridot.errors import ConfigError
from peridot.labels.generator import LabelGenerator
from peridot.labels.job import MapJob
from peridot.maps.folder import UNLABELED
from peridot.maps.images import ImageSource
from peridot.registry import LABEL_GENERATORS

GRID_ROWS = 6


@LABEL_GENERATORS.register_module('oracle')
class OracleGenerator(LabelGenerator):
    """The class of every pixel of a synthetic image, rendered again from the dataset's settings.

    Classes are the 16 of nuScenes' lidar segmentation challenge; the sky and everything outside these classes get
    `ignore`. To study how good weak labels must be, errors can be added: first wrong classes, then wrong borders, so
    that the borders of wrong regions move, too.

    Args:
        class_noise: Probability in [0, 1] that a region takes another class, drawn uniformly; on average the same
            fraction of the labeled area is wrong. Regions are the connected parts of one class within a cell of a
            square grid with `GRID_ROWS` cells over the image's height.
        border_noise: Standard deviation in pixels, along each axis, of a random displacement of the map that is
            smooth over four times as many pixels.
        seed: Seed of both; the noise of an image depends only on the seed and its key.

    Raises:
        ConfigError: An option is out of range.
    """

    kind = 'labels'
    ignore = UNLABELED

    def __init__(self, class_noise: float = 0.0, border_noise: float = 0.0, seed: int = 0) -> None:
        from peridot.catalog import CATALOG

        if not 0 <= class_noise <= 1:
            raise ConfigError(f'oracle: class_noise={class_noise} is a probability and must lie between 0 and 1')
        if border_noise < 0 or seed < 0:
            raise ConfigError(f'oracle: border_noise={border_noise} and seed={seed} must not be negative')
        self.class_noise = float(class_noise)
        self.border_noise = float(border_noise)
        self.seed = int(seed)
        meta = CATALOG['nuscenes'].segmentation_meta()
        self.classes = meta['classes']
        self._table = np.full(max(meta['seg_label_mapping']) + 1, self.ignore, np.uint8)
        for raw, label in meta['seg_label_mapping'].items():
            if label != meta['ignore_index']:
                self._table[raw] = label
        self._settings = None

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {'class_noise': self.class_noise, 'border_noise': self.border_noise, 'seed': self.seed}

    def open(self, job: MapJob) -> None:
        """See `open_dataset`."""
        self.open_dataset(job.data_root)

    def open_dataset(self, data_root: str | Path) -> None:
        """Read the settings of the dataset in a folder.

        Raises:
            ConfigError: The data is not synthetic.
        """
        from streets.dataset import MANIFEST, read_settings

        if not (Path(data_root) / MANIFEST).is_file():
            raise ConfigError(
                f'oracle labels exist for synthetic data only, {data_root} has no {MANIFEST}: make such data with '
                '`python tools/make_demo_data.py` or choose another --generator'
            )
        self._settings = read_settings(data_root)

    def generate(self, source: ImageSource) -> np.ndarray:
        """Classes uint8 (H, W) of a synthetic image, after `open_dataset`; 255 in the sky and where no class fits."""
        from streets.camera import take_photo
        from streets.frame import image_view

        camera, snapshot = image_view(self._settings, source.path)
        labels = self._table[take_photo(snapshot, camera).category]
        if self.class_noise:
            replace_classes(labels, self.class_noise, len(self.classes), self._generator(source, 0))
        return displace(labels, self.border_noise, self._generator(source, 1)) if self.border_noise else labels

    def _generator(self, source: ImageSource, purpose: int) -> np.random.Generator:
        key = int.from_bytes(hashlib.sha256(source.key.encode()).digest()[:8], 'big')
        return np.random.default_rng([self.seed, key, purpose])


def replace_classes(labels: np.ndarray, probability: float, num_classes: int, rng: np.random.Generator) -> None:
    """Give regions a random other class, in place; see `OracleGenerator` for what a region is.

    Args:
        labels: Uint8 (H, W), classes; values of `num_classes` or more stay as they are.
        probability: Of each region, in [0, 1].
        num_classes: Number of classes.
        rng: Draws are the same for all probabilities: what a lower one replaces, a higher one replaces, too.
    """
    side = -(-labels.shape[0] // GRID_ROWS)
    row, column = (np.arange(size) // side for size in labels.shape)
    cell = row[:, None] * (column[-1] + 1) + column
    regions = connected_regions(cell * 256 + labels, background=-1, connectivity=1) - 1
    classes = np.zeros(regions.max() + 1, np.int64)
    classes[regions] = labels
    chosen = (rng.random(len(classes)) < probability) & (classes < num_classes)
    other = (classes + rng.integers(1, num_classes, len(classes))) % num_classes
    labels[:] = np.where(chosen, other, classes)[regions]


def displace(labels: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Read a map at randomly, smoothly displaced positions.

    Args:
        labels: Int (H, W).
        deviation: Standard deviation of the displacement along each axis, pixels.
        rng: Draws the displacement.

    Returns:
        (H, W), of the same dtype.
    """
    smooth = max(4 * deviation, 1.0)
    # a Gaussian filter leaves white noise a deviation of 1 / (2 sqrt(pi) smooth); wrapping keeps it so at the edges
    noise = rng.standard_normal((2, *labels.shape), np.float32) * np.float32(2 * np.sqrt(np.pi) * smooth * deviation)
    position = np.indices(labels.shape) + [gaussian_filter(axis, smooth, mode='wrap') for axis in noise]
    limits = np.array(labels.shape)[:, None, None] - 1
    row, column = np.clip(np.rint(position), 0, limits).astype(np.int64)
    return labels[row, column]
