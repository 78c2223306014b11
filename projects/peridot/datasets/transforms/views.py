"""Joint augmentations of images and pairs; pixels are touched once, when the views are decoded."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from peridot.registry import TRANSFORMS
from peridot.structures import Pairs


class ViewTransform(BaseTransform):
    """Base of the transforms that concern images alone.

    A dense cloud (`frames` of `PairedDataset`) shares the images of its keyframe, which have gone through them already:
    its pairs stay at the positions of the image files until `PackPaired`.
    """

    def __call__(self, results: dict) -> dict | None:
        """Run the transform, except for dense clouds."""
        return results if 'dense_sweeps' in results else super().__call__(results)


def resize_views(results: dict, boxes: np.ndarray, size: tuple[int, int]) -> None:
    """Crop and resize images, maps and pairs of a sample.

    Args:
        results: Sample with `views` and optionally `pairs`.
        boxes: Float (V, 4), top, left, height and width in the current frame.
        size: Height and width after resizing.
    """
    results['views'].resized_crop(boxes, size)
    if 'pairs' in results:
        results['pairs'] = results['pairs'].resized_crop(torch.from_numpy(boxes), size)


def whole_views(sizes: np.ndarray) -> np.ndarray:
    """Boxes Float64 (V, 4) of the whole images, from heights and widths (V, 2)."""
    return np.concatenate([np.zeros_like(sizes), sizes], 1).astype(np.float64)


@TRANSFORMS.register_module()
class ResizeViews(ViewTransform):
    """Resize whole images, without keeping their aspect ratio; keeps all pairs.

    Args:
        size: Height and width.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = (int(size[0]), int(size[1]))

    def transform(self, results: dict) -> dict:
        """Change `views` and `pairs`."""
        resize_views(results, whole_views(results['views'].size), self.size)
        return results


@TRANSFORMS.register_module()
class RandomFlipViews(ViewTransform):
    """Mirror every image with some probability, independently of the others.

    Args:
        prob: Probability. Defaults to 0.5.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change `views` and `pairs`."""
        views = results['views']
        flipped = np.random.rand(len(views)) < self.prob
        if 'pairs' in results:
            width = torch.from_numpy(views.size[:, 1])
            results['pairs'] = results['pairs'].flip(torch.from_numpy(flipped), width)
        views.flip(flipped)
        return results


@TRANSFORMS.register_module()
class RandomResizedCropViews(ViewTransform):
    """Random crop of every image that keeps enough pairs, resized to one size.

    A crop is accepted when it keeps more than `min_pairs` pairs or more than `min_pairs_ratio` of the image's
    pairs; an image without pairs accepts the first. After `max_tries` draws the one with most pairs is taken,
    or the whole image when none has any.

    Args:
        size: Height and width of the result. Defaults to (224, 416).
        scale: Range of the crop's fraction of the image area. Defaults to (0.3, 1).
        aspect: Range of width / height. Defaults to (14/9, 17/9).
        min_pairs: Number of pairs that is enough. Defaults to 1024.
        min_pairs_ratio: Fraction of an image's pairs that is enough. Defaults to 0.75.
        max_tries: Draws per image. Defaults to 20.
    """

    # shapes drawn per try: one larger than the image is drawn again, as in torchvision
    _SHAPES = 10
    # crops begin and end at multiples of this, so at whole pixels also in images decoded at half size
    _GRID = 2

    def __init__(
        self,
        size: tuple[int, int] = (224, 416),
        scale: tuple[float, float] = (0.3, 1.0),
        aspect: tuple[float, float] = (14 / 9, 17 / 9),
        min_pairs: int = 1024,
        min_pairs_ratio: float = 0.75,
        max_tries: int = 20,
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.scale = tuple(scale)
        self.aspect = tuple(aspect)
        self.min_pairs = min_pairs
        self.min_pairs_ratio = min_pairs_ratio
        self.max_tries = max_tries

    def transform(self, results: dict) -> dict:
        """Change `views` and `pairs`."""
        sizes = results['views'].size
        boxes = self.draw(sizes)
        chosen = boxes[0]
        if 'pairs' in results:
            chosen = self._choose(boxes, results['pairs'], sizes)
        resize_views(results, chosen, self.size)
        return results

    def draw(self, sizes: np.ndarray) -> np.ndarray:
        """Candidate crops of all images at once.

        Args:
            sizes: Int (V, 2), heights and widths.

        Returns:
            Float64 (max_tries, V, 4), top, left, height and width, whole numbers.
        """
        height, width = sizes.T.astype(np.float64)
        draws = (self.max_tries, self._SHAPES, len(sizes))
        area = height * width * np.random.uniform(*self.scale, draws)
        aspect = np.exp(np.random.uniform(*np.log(self.aspect), draws))
        crop = self._GRID * np.rint(np.sqrt(np.stack([area / aspect, area * aspect], -1)) / self._GRID)
        valid = ((crop > 0) & (crop <= sizes)).all(-1)
        first = valid.argmax(1)[:, None, :, None]
        crop = np.take_along_axis(crop, first, 1)[:, 0]
        crop = np.where(valid.any(1)[..., None], crop, self._largest(height, width))
        corner = self._GRID * np.floor(np.random.uniform(size=crop.shape) * ((sizes - crop) // self._GRID + 1))
        return np.concatenate([corner, crop], -1)

    def _largest(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Largest height and width (V, 2) within the range of aspects."""
        return np.stack(
            [
                np.minimum(height, np.rint(width / self.aspect[0])),
                np.minimum(width, np.rint(height * self.aspect[1])),
            ],
            -1,
        )

    def _choose(self, boxes: np.ndarray, pairs: Pairs, sizes: np.ndarray) -> np.ndarray:
        """One of the candidates (T, V, 4) for each image: (V, 4)."""
        total = pairs.count(len(sizes)).numpy()
        chosen = boxes[0].copy()
        first_kept = count_inside(boxes[:1], pairs)[0]
        views = np.flatnonzero(~self._accept(first_kept, total))
        if len(views) == 0:
            return chosen
        # most images accept the first draw: the other tries are counted for the few that do not
        rest = pairs[torch.isin(pairs.camera, torch.from_numpy(views))]
        kept = count_inside(boxes, rest)[:, views]
        accepted = self._accept(kept, total[views])
        best = np.where(accepted.any(0), accepted.argmax(0), kept.argmax(0))
        chosen[views] = boxes[best, views]
        empty = views[kept.max(0) == 0]
        chosen[empty] = whole_views(sizes[empty])
        return chosen

    def _accept(self, kept: np.ndarray, total: np.ndarray) -> np.ndarray:
        return (kept > self.min_pairs) | (kept > self.min_pairs_ratio * total) | (total == 0)


def count_inside(boxes: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Number of pairs that every crop keeps.

    Args:
        boxes: Float (T, V, 4), top, left, height and width of T crops of every image.
        pairs: Pairs in the frame of the images.

    Returns:
        Int64 (T, V).
    """
    tries, num_cameras = boxes.shape[:2]
    # float32, as Pairs.resized_crop compares, so that both agree on the border
    boxes = np.ascontiguousarray(boxes.transpose(2, 0, 1), dtype=np.float32)
    low, high = boxes[:2] - 0.5, boxes[:2] + boxes[2:] - 0.5
    counts = np.zeros((tries, num_cameras), dtype=np.int64)
    camera, position = pairs.camera.numpy(), pairs.position.numpy()
    bounds = np.searchsorted(camera, np.arange(num_cameras + 1))
    for view in range(num_cameras):
        row, column = position[bounds[view] : bounds[view + 1]].T
        inside = (row >= low[0, :, view, None]) & (row < high[0, :, view, None])
        inside &= (column >= low[1, :, view, None]) & (column < high[1, :, view, None])
        counts[:, view] = np.count_nonzero(inside, axis=1)
    return counts
