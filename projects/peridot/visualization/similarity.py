"""Figures of the similarity to one point in several scans, or to a text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from peridot.errors import ConfigError
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import Cloud, caption, color_figure


@dataclass(frozen=True)
class Scan:
    """A cloud with features.

    Attributes:
        name: Caption of its figure.
        cloud: The points.
        features: Float (N, C).
    """

    name: str
    cloud: Cloud
    features: Tensor


def correlation(feature: Tensor, features: Tensor) -> Tensor:
    """Cosine of one feature (C,) and others (N, C): float32 (N,)."""
    return F.normalize(features.float(), dim=1) @ F.normalize(feature.float(), dim=0)


def correlation_figure(scans: Iterable[Scan], query: int) -> np.ndarray:
    """Draw the similarity of a point of the first scan with the points of all scans, one scan below the other.

    From dark blue (cosine 0 and less) to yellow (1), on one scale for all scans; a cross marks the point. The figure of
    "Three Pillars Improving Vision Foundation Model Distillation for Lidar" (ScaLR).

    Args:
        scans: Of one or several datasets; their features come from one network. They are asked for one at a time, and
            not kept.
        query: Row of the point in the first scan.

    Returns:
        Uint8 (H, W, 3).

    Raises:
        ConfigError: The scans' features have different numbers of channels.
    """
    rows = []
    for scan in scans:
        if not rows:
            # a copy, which does not hold the features of all points
            first, feature = scan.name, scan.features[query].clone()
        if scan.features.shape[1] != len(feature):
            raise ConfigError(
                f'scan {scan.name} has features of {scan.features.shape[1]} channels, {first} of '
                f'{len(feature)}: only features of one network can be compared'
            )
        colors = heat_colors(correlation(feature, scan.features))
        rows.append(caption(color_figure(colors, scan.cloud, None if rows else query), scan.name))
    return _below(rows)


def text_figure(cloud: Cloud, similarity: Tensor, text: str, limits: tuple[float, float]) -> np.ndarray:
    """Draw a cloud colored by its similarity to a text, which is in the corner with the range of the colors.

    Args:
        cloud: The points.
        similarity: Float (N,), cosines.
        text: The text.
        limits: Cosines of the darkest and of the brightest color. Cosines of images and texts differ little:
            those of a CLIP lie within a few tenths.

    Returns:
        Uint8 (H, W, 3).
    """
    figure = color_figure(heat_colors(similarity, *limits), cloud)
    return caption(figure, f'"{text}": cosine {limits[0]:.2f} (dark) to {limits[1]:.2f} (bright)')


def _below(figures: Sequence[np.ndarray]) -> np.ndarray:
    """Stack figures vertically, aligned left."""
    width = max(figure.shape[1] for figure in figures)
    return np.vstack([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in figures])
