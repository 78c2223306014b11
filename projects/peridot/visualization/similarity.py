"""Pictures of similarity: to one point in several scans, or to a text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.errors import ConfigError
from peridot.structures import Pairs
from peridot.visualization.pictures import TopView, caption, color_picture, heat_colors


@dataclass(frozen=True)
class Scan:
    """A cloud with features, and its cameras.

    Attributes:
        name: What its picture is called.
        xyz: (N, >=3) points in meters, lidar frame.
        features: Float (N, C).
        images: uint8 (V, 3, H, W); V may be 0.
        pairs: Pairs of the points and these images.
        view: Part that is shown from above; by default 40 m around the sensor, y up.
    """

    name: str
    xyz: Tensor
    features: Tensor
    images: Tensor
    pairs: Pairs
    view: TopView | None = None

    @classmethod
    def of_sample(cls, name: str, sample: dict, features: Tensor, lidar2cam: np.ndarray | None = None) -> 'Scan':
        """A packed sample of a paired dataset.

        Args:
            name: What its picture is called.
            sample: As `PackPaired` makes it.
            features: Float (N, C) of its points.
            lidar2cam: (4, 4) of the front camera, whose axis points up.
        """
        inputs = sample['inputs']
        points = inputs['points']
        images = inputs.get('images', torch.zeros(0, 3, 1, 1, dtype=torch.uint8))
        return cls(name, points, features, images, inputs['pairs'], TopView.fit(points.numpy(), lidar2cam))

    def nearest(self, x: float, y: float) -> int:
        """Row of the point nearest to these meters on the ground."""
        return int((self.xyz[:, :2] - self.xyz.new_tensor((x, y))).norm(dim=1).argmin())


def correlation(feature: Tensor, features: Tensor) -> Tensor:
    """Cosine of one feature (C,) and others (N, C): float32 (N,)."""
    return F.normalize(features.float(), dim=1) @ F.normalize(feature.float(), dim=0)


def correlation_picture(scans: Sequence[Scan], query: int) -> np.ndarray:
    """Similarity of a point of the first scan with the points of all scans, one scan below the other.

    From dark blue (cosine 0 and less) to yellow (1), on one scale for all scans; a cross marks the point. The figure of
    "Three Pillars Improving Vision Foundation Model Distillation for Lidar" (ScaLR).

    Args:
        scans: Of one or several datasets; their features come from one network.
        query: Row of the point in the first scan.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ConfigError: The scans' features have different numbers of channels.
    """
    feature, rows = scans[0].features[query], []
    for index, scan in enumerate(scans):
        if scan.features.shape[1] != len(feature):
            raise ConfigError(
                f'scan {scan.name} has features of {scan.features.shape[1]} channels, {scans[0].name} of '
                f'{len(feature)}: only features of one network can be compared'
            )
        colors = heat_colors(correlation(feature, scan.features))
        marked = query if index == 0 else None
        picture = color_picture(colors, scan.xyz, scan.images, scan.pairs, marked, scan.view)
        rows.append(caption(picture, scan.name))
    return _below(rows)


def text_picture(scan: Scan, similarity: Tensor, text: str, limits: tuple[float, float]) -> np.ndarray:
    """A cloud colored by its similarity to a text, which stands in the corner with the colors' range.

    Args:
        scan: The cloud.
        similarity: Float (N,) cosines.
        text: What was asked for.
        limits: Cosines of the darkest and of the brightest color. Cosines of images and texts differ little:
            a CLIP's lie within some tenths.

    Returns:
        uint8 (H, W, 3).
    """
    picture = color_picture(heat_colors(similarity, *limits), scan.xyz, scan.images, scan.pairs, None, scan.view)
    return caption(picture, f'"{text}": cosine {limits[0]:.2f} (dark) to {limits[1]:.2f} (bright)')


def _below(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, flush left."""
    width = max(picture.shape[1] for picture in pictures)
    return np.vstack([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in pictures])
