"""Superpixel generators: each image is cut into regions that follow its edges."""

import heapq

import numpy as np
import skimage
from skimage.segmentation import felzenszwalb, slic

from peridot.errors import ConfigError
from peridot.labels.generator import LabelGenerator, check_positive
from peridot.maps.folder import NO_SUPERPIXEL
from peridot.maps.images import nearest_resize, reduce_image, resize_image
from peridot.registry import LABEL_GENERATORS


@LABEL_GENERATORS.register_module('slic')
class SlicGenerator(LabelGenerator):
    """SLIC superpixels by scikit-image; the defaults are those published with SLidR.

    Args:
        n_segments: Number of superpixels to aim for, and the declared maximum (`num_ids`).
        compactness: Weight of distance against color difference.
        sigma: Width of the Gaussian smoothing, in pixels of the full image.
        scale: Size of the image SLIC works on, relative to the full image; 1 is the published setting. The map
            is scaled back to full size by nearest neighbor, and `sigma` scales along.
    """

    kind = 'superpixels'
    version = f'scikit-image {skimage.__version__}'

    def __init__(self, n_segments: int = 150, compactness: float = 6.0, sigma: float = 3.0, scale: float = 1.0) -> None:
        if not 0 < scale <= 1:
            raise ConfigError(f'slic: scale={scale} must be above 0 and at most 1 (1 is the published setting)')
        if not 1 <= n_segments <= NO_SUPERPIXEL:
            raise ConfigError(f'slic: n_segments={n_segments} must lie between 1 and {NO_SUPERPIXEL} (published: 150)')
        self.num_ids = int(n_segments)
        self.compactness, self.sigma, self.scale = float(compactness), float(sigma), float(scale)

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {
            'n_segments': self.num_ids,
            'compactness': self.compactness,
            'sigma': self.sigma,
            'scale': self.scale,
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Ids int64 (H, W) below `num_ids` of an RGB image uint8 (H, W, 3); each id is one region."""
        size = image.shape[:2]
        return nearest_resize(self.segment(self.reduce(image)), size)

    def reduce(self, image: np.ndarray) -> np.ndarray:
        """Reduce an image to the size that SLIC works on."""
        return resize_image(image, tuple(max(1, round(side * self.scale)) for side in image.shape[:2]))

    def segment(self, reduced: np.ndarray) -> np.ndarray:
        """Run SLIC on an image that `reduce` made (or that was decoded at that size)."""
        ids = slic(
            reduced,
            n_segments=self.num_ids,
            compactness=self.compactness,
            sigma=self.sigma * self.scale,
            start_label=0,
            channel_axis=-1,
        )
        # depending on the image's shape, SLIC's grid may have a few more cells than asked for
        return merge_smallest(ids, self.num_ids)


@LABEL_GENERATORS.register_module('felzenszwalb')
class FelzenszwalbGenerator(LabelGenerator):
    """Graph-based superpixels of Felzenszwalb and Huttenlocher, by scikit-image.

    Regions follow edges without a preferred size, so their number differs from image to image; where there are
    more than `num_ids`, the smallest join a neighbor. The defaults suit street images of 1600 x 900 pixels.

    Args:
        scale: scikit-image's `scale`: larger values prefer larger regions. It does not reduce the image.
        sigma: Width of the Gaussian smoothing, in pixels of the reduced image.
        min_size: Smallest region, in pixels of the reduced image.
        image_height: Height in pixels to which larger images are reduced first; None never reduces. The map is
            scaled back to full size by nearest neighbor.
        num_ids: Largest number of regions in an image.
    """

    kind = 'superpixels'
    version = f'scikit-image {skimage.__version__}'

    def __init__(
        self,
        scale: float = 200.0,
        sigma: float = 0.8,
        min_size: int = 100,
        image_height: int | None = 450,
        num_ids: int = 256,
    ) -> None:
        if scale < 1:
            raise ConfigError(
                f'felzenszwalb: scale={scale} must be at least 1, larger values prefer larger regions (to work on '
                'a smaller image give image_height=N)'
            )
        check_num_ids('felzenszwalb', num_ids)
        check_positive('felzenszwalb', min_size=min_size, image_height=image_height)
        self.scale, self.sigma, self.min_size = float(scale), float(sigma), int(min_size)
        self.image_height, self.num_ids = image_height, int(num_ids)

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {
            'scale': self.scale,
            'sigma': self.sigma,
            'min_size': self.min_size,
            'image_height': self.image_height,
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Ids int64 (H, W) below `num_ids` of an RGB image uint8 (H, W, 3)."""
        reduced = reduce_image(image, self.image_height)
        ids = felzenszwalb(reduced, scale=self.scale, sigma=self.sigma, min_size=self.min_size, channel_axis=-1)
        return nearest_resize(merge_smallest(ids, self.num_ids), image.shape[:2])


def check_num_ids(generator: str, num_ids: int) -> None:
    """Raise a ConfigError unless 16-bit maps with the ignore value 65535 can hold that many ids."""
    if not 1 <= num_ids <= NO_SUPERPIXEL:
        raise ConfigError(f'{generator}: num_ids={num_ids} must lie between 1 and {NO_SUPERPIXEL}')


def merge_smallest(ids: np.ndarray, limit: int) -> np.ndarray:
    """Merge the smallest regions of a partition until at most `limit` remain.

    The smallest region joins the neighbor it shares the longest border with (the lowest id among equals),
    again and again; then ids are renumbered without gaps, in their old order.

    Args:
        ids: Int (H, W), not negative; every pixel has one.
        limit: Largest number of regions.

    Returns:
        Int64 (H, W), in [0, limit).
    """
    shape = ids.shape
    names, ids = np.unique(ids, return_inverse=True)
    ids = ids.reshape(shape)
    if len(names) <= limit:
        return ids
    return np.unique(merge_targets(ids, limit=limit), return_inverse=True)[1][ids]


def merge_targets(ids: np.ndarray, limit: int | None = None, min_area: int = 0) -> np.ndarray:
    """The region each region belongs to once small ones have joined their neighbors.

    The smallest region (the lowest id among equals) joins the neighbor it shares the longest border with (the
    lowest id among equals), again and again, while more than `limit` regions remain or the smallest has fewer
    than `min_area` pixels. Time and memory grow with the number of borders, not of pairs of regions.

    Args:
        ids: Int (H, W), in [0, S) without gaps.
        limit: Largest number of regions, None for any.
        min_area: Smallest area of a region, in pixels.

    Returns:
        Int64 (S,), id of the region that each one finally belongs to.
    """
    areas = np.bincount(ids.ravel()).tolist()
    borders = _border_lengths(ids, len(areas))
    smallest = [(area, index) for index, area in enumerate(areas)]
    heapq.heapify(smallest)
    targets = np.arange(len(areas))
    remaining = len(areas)
    limit = remaining if limit is None else limit
    while remaining > 1 and (remaining > limit or smallest[0][0] < min_area):
        area, small = heapq.heappop(smallest)
        if targets[small] != small or area != areas[small]:
            continue  # has been merged or has grown since it was put on the heap
        neighbor = max(borders[small], key=lambda index: (borders[small][index], -index))
        targets[small] = neighbor
        areas[neighbor] += area
        heapq.heappush(smallest, (areas[neighbor], neighbor))
        for other, length in borders[small].items():
            del borders[other][small]
            if other != neighbor:
                borders[other][neighbor] = borders[neighbor][other] = borders[other].get(neighbor, 0) + length
        borders[small] = {}
        remaining -= 1
    while (further := targets[targets]).tolist() != targets.tolist():
        targets = further
    return targets


def _border_lengths(ids: np.ndarray, count: int) -> list[dict[int, int]]:
    """For each region, the number of pixel edges to each of its neighbors."""
    codes = []
    for first, second in ((ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])):
        differ = first != second
        pair = np.stack([first[differ], second[differ]]).astype(np.int64)
        codes.append(pair.min(0) * count + pair.max(0))
    lengths = [{} for _ in range(count)]
    for code, length in zip(*(array.tolist() for array in np.unique(np.concatenate(codes), return_counts=True))):
        low, high = divmod(code, count)
        lengths[low][high] = lengths[high][low] = length
    return lengths
