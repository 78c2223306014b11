"""Regions whose pixels should agree: segments of the lidar, completed by superpixels of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from peridot.drive_and_segment.proposals.clusters import GROUND, NONE
from peridot.errors import ConfigError, DataError
from peridot.maps.folder import MapFolder
from peridot.models.functional import group_mean


@dataclass(frozen=True)
class AttachmentRule:
    """Conditions for a superpixel to belong to a segment.

    Attributes:
        cover: Smallest fraction of the superpixel's pixels that lie in the segment.
        purity: Smallest fraction of its pixels in any segment that lie in this one.

    Raises:
        ConfigError: A fraction does not lie between 0 and 1.
    """

    cover: float = 0.5
    purity: float = 0.8

    def __post_init__(self) -> None:
        for name in ('cover', 'purity'):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f'regions: {name}={getattr(self, name)} is a fraction: set it above 0 and up to 1')


def require_partition(superpixels: MapFolder) -> None:
    """Refuse a folder of superpixels that leave pixels out.

    Raises:
        DataError: Some pixels may have no superpixel.
    """
    if superpixels.ignore is not None:
        raise DataError(
            f'{superpixels.folder} leaves pixels without superpixel, but regions must cover images: make others with '
            '`python tools/make_superpixels.py CONFIG --generator felzenszwalb` and name their '
            'folder as superpixels of teacher_labels and of the maps of the dataset'
        )


def attach_superpixels(proposals: np.ndarray, superpixels: np.ndarray, rule: AttachmentRule) -> np.ndarray:
    """Find the segment that each superpixel belongs to.

    Args:
        proposals: Int (H, W), proposals: 0 none, 1 ground, 2 and more objects.
        superpixels: Int (H, W), ids from 0.
        rule: When a superpixel belongs to a segment.

    Returns:
        Int64 (largest id + 1,), segment of each superpixel, 0 for none. Of segments with the same fraction the first
        counts.
    """
    segments, count = int(proposals.max()) + 1, int(superpixels.max()) + 1
    pixels = np.bincount((superpixels.astype(np.int64) * segments + proposals).ravel())
    pairs = np.flatnonzero(pixels)
    pixels = pixels[pairs]
    owner, segment = pairs // segments, pairs % segments
    size = np.bincount(owner, pixels, count)
    inside = segment != NONE
    covered = np.bincount(owner[inside], pixels[inside], count)
    good = inside & (pixels >= rule.cover * size[owner]) & (pixels >= rule.purity * covered[owner])
    attached, most = np.full(count, NONE, np.int64), np.zeros(count, np.int64)
    np.maximum.at(most, owner[inside], pixels[inside])
    # written backwards, the first of equals stays
    chosen = np.flatnonzero(good & (pixels == most[owner]))[::-1]
    attached[owner[chosen]] = segment[chosen]
    return attached


def join_regions(proposals: np.ndarray, superpixels: np.ndarray, rule: AttachmentRule = AttachmentRule()) -> np.ndarray:
    """Divide an image into regions that should have one class each.

    An object, with the unlabeled pixels of the superpixels that belong to it, is one region. Of every other superpixel
    the pixels outside all segments are a region. The ground is not a single region, or road and sidewalk could not
    differ: its piece in each superpixel is, with the superpixel's unlabeled pixels if it belongs to the ground.

    Args:
        proposals: Int (H, W), proposals: 0 none, 1 ground, 2 and more objects.
        superpixels: Int (H, W), ids from 0, a partition.
        rule: When a superpixel belongs to a segment.

    Returns:
        Int32 (H, W), regions numbered from 0 without gaps.
    """
    segment, owner = proposals.astype(np.int64), superpixels.astype(np.int64)
    belongs = attach_superpixels(segment, owner, rule)[owner]
    segment = np.where(segment == NONE, belongs, segment)
    first = int(segment.max()) + 1
    region = np.where(segment > GROUND, segment, first + 2 * owner + (segment == GROUND))
    found = np.bincount(region.ravel()) > 0
    return (np.cumsum(found, dtype=np.int32) - 1)[region]


def region_means(scores: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the scores of each region of each image.

    Args:
        scores: Float (N, K, H, W).
        regions: Int64 (N, H, W), regions, from 0 in each image; negative where there is none.

    Returns:
        Means float (R, K), number of pixels int64 (R,) of each region, and the region int64 (N H W,) of each pixel, in
        [0, R) or -1 for none.
    """
    images = torch.arange(len(regions), device=regions.device)[:, None, None]
    count = int(regions.max()) + 1
    group = torch.where(regions < 0, -1, regions + images * count).flatten()
    means, pixels = group_mean(scores.movedim(1, -1).flatten(0, 2), group, len(regions) * max(count, 0))
    return means, pixels, group
