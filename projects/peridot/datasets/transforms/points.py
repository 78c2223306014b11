"""Augmentations of the cloud that mmdet3d lacks."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from peridot.datasets.transforms.augmentation import SHIFT
from peridot.datasets.transforms.sampling import keep_points
from peridot.errors import ConfigError
from peridot.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DropCuboids(BaseTransform):
    """Remove the points strictly inside a random cuboid, and their pairs (DepthContrast, SLidR, OLIVINE).

    The cuboid is centered at a random point; its sides are a random fraction in [0, `max_size`) of the
    cloud's extent. If too few pairs of any image would remain, nothing is removed. An image has enough if at
    least `min_pairs` remain or, with `min_pairs_ratio`, if that fraction of its pairs remains: sparse
    sensors and short ranges never have 1024 pairs in an image.

    Args:
        max_size: Largest fraction of the cloud's extent. Defaults to 0.2.
        min_pairs: Pairs that every image must keep. Defaults to 1024.
        min_pairs_ratio: Fraction of an image's pairs that is enough, too. Defaults to None.
    """

    def __init__(self, max_size: float = 0.2, min_pairs: int = 1024, min_pairs_ratio: float | None = None) -> None:
        self.max_size = max_size
        self.min_pairs = min_pairs
        self.min_pairs_ratio = min_pairs_ratio

    def transform(self, results: dict) -> dict:
        """Change `points`, `pairs` and labels of points."""
        keep = self._draw(results['points'].coord.numpy())
        if 'pairs' in results:
            camera, kept = results['pairs'].camera.numpy(), keep[results['pairs'].point.numpy()]
            before, after = (np.bincount(c, minlength=len(results['cameras'])) for c in (camera, camera[kept]))
            if not self._enough(before, after):
                return results
        keep_points(results, keep)
        return results

    def _draw(self, xyz: np.ndarray) -> np.ndarray:
        # one row per axis: reductions along contiguous memory are several times faster
        axes = np.ascontiguousarray(xyz.T)
        fraction = np.random.uniform(0, self.max_size)
        center = axes[:, np.random.randint(len(xyz)), None]
        reach = (axes.max(1, keepdims=True) - axes.min(1, keepdims=True)) * fraction / 2
        return (np.abs(axes - center) >= reach).any(0)

    def _enough(self, before: np.ndarray, after: np.ndarray) -> bool:
        enough = after >= self.min_pairs
        if self.min_pairs_ratio is not None:
            enough |= after >= self.min_pairs_ratio * before
        return bool(enough.all())


@TRANSFORMS.register_module()
class RandomFlipAxis(BaseTransform):
    """Mirror the cloud along x or along y, never both (ScaLR, WaffleIron).

    Args:
        prob: Probability of a flip; either axis has half of it. Defaults to 2/3.
    """

    def __init__(self, prob: float = 2 / 3) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change the first two columns of `points`, and record it as mmdet3d's `RandomFlip3D` does."""
        if np.random.rand() < self.prob:
            axis = np.random.randint(2)
            results['points'].tensor[:, axis] *= -1
            name, flow = (('pcd_vertical_flip', 'VF'), ('pcd_horizontal_flip', 'HF'))[axis]
            results[name] = True
            results['transformation_3d_flow'] = [*results.get('transformation_3d_flow', []), flow]
        return results


@TRANSFORMS.register_module()
class ShiftPoints(BaseTransform):
    """Move the cloud on the ground, along x and y each by clip(N(0, std), -limit, limit) (BEVContrast).

    Args:
        std: Standard deviation in meters. Defaults to 4.
        limit: Largest shift in meters. Defaults to 15.
    """

    def __init__(self, std: float = 4.0, limit: float = 15.0) -> None:
        self.std = std
        self.limit = limit

    def transform(self, results: dict) -> dict:
        """Change the first two columns of `points`; what follows the augmentation follows it, too."""
        shift = np.append(np.random.normal(scale=self.std, size=2).clip(-self.limit, self.limit), 0.0)
        results['points'].translate(torch.from_numpy(shift).float())
        results[SHIFT] = shift
        results['transformation_3d_flow'] = [*results.get('transformation_3d_flow', []), SHIFT]
        return results


@TRANSFORMS.register_module()
class AppendPointFeatures(BaseTransform):
    """WaffleIron's five input features behind the coordinates, from then on independent of them.

    Points x, y, z, I become `x, y, z | (I - mean) / std, x, y, z, r` with `r = ||(x, y, z)||`: the network takes its
    geometry from the first three columns, its features from the others (`feature_columns=(3, 4, 5, 6, 7)`).

    Args:
        mean: Mean of the dataset's intensity. Defaults to 0: raw intensity.
        std: Its standard deviation. Defaults to 1.

    Raises:
        ConfigError: The points have other columns than x, y, z and intensity.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean = mean
        self.std = std

    def transform(self, results: dict) -> dict:
        """Give `points` eight columns."""
        points = results['points']
        if points.tensor.shape[1] != 4:
            raise ConfigError(
                f'AppendPointFeatures needs x, y, z and intensity, but points have {points.tensor.shape[1]} columns: '
                'set use_dim=4 in LoadPoints'
            )
        xyz, intensity = points.tensor.split([3, 1], 1)
        radius = xyz.norm(dim=1, keepdim=True)
        columns = torch.cat([xyz, (intensity - self.mean) / self.std, xyz, radius], 1)
        results['points'] = type(points)(columns, points_dim=columns.shape[1])
        return results


@TRANSFORMS.register_module()
class AugmentPointFeatures(BaseTransform):
    """Turn and scale the coordinates among the features, not the geometry (ScaLR's fine-tuning and linear probing).

    After `AppendPointFeatures`: columns 4 and 5 (x, y) turn by an angle in [-pi, pi), then columns 4 to 7
    (x, y, z, r) are multiplied by one factor.

    Args:
        scale: Range of the factor. Defaults to (0.9, 1.1).

    Raises:
        ConfigError: The points have no features of `AppendPointFeatures`.
    """

    def __init__(self, scale: tuple[float, float] = (0.9, 1.1)) -> None:
        self.scale = tuple(scale)

    def transform(self, results: dict) -> dict:
        """Change columns 4 to 7 of `points`."""
        points = results['points'].tensor
        if points.shape[1] != 8:
            raise ConfigError(
                f'AugmentPointFeatures needs points with 8 columns, these have {points.shape[1]}: put '
                'peridot.AppendPointFeatures before it'
            )
        angle = np.random.uniform(-np.pi, np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        # row vectors
        points[:, 4:6] = points[:, 4:6] @ points.new_tensor([[cos, sin], [-sin, cos]])
        points[:, 4:8] *= np.random.uniform(*self.scale)
        return results
