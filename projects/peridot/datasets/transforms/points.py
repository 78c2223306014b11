"""Augmentations of the cloud that mmdet3d lacks."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from peridot.registry import TRANSFORMS

_PER_POINT = ('pts_semantic_mask', 'pts_instance_mask')


@TRANSFORMS.register_module()
class DropCuboids(BaseTransform):
    """Remove the points strictly inside a random cuboid, and their pairs (DepthContrast, SLidR, OLIVINE).

    The cuboid is centered at a random point; its sides are one random share in [0, `max_size`) of the
    cloud's extent. When too few pairs of any image would remain, nothing is removed. An image has enough when
    at least `min_pairs` remain or, with `min_pairs_ratio`, when that share of its pairs remains: sparse
    sensors and short ranges never have 1024 pairs in an image.

    Args:
        max_size (float): Largest share of the cloud's extent. Defaults to 0.2.
        min_pairs (int): Pairs that every image must keep. Defaults to 1024.
        min_pairs_ratio (float, optional): Share of an image's pairs that is enough too. Defaults to None.
    """

    def __init__(self, max_size: float = 0.2, min_pairs: int = 1024, min_pairs_ratio: float | None = None) -> None:
        self.max_size = max_size
        self.min_pairs = min_pairs
        self.min_pairs_ratio = min_pairs_ratio

    def transform(self, results: dict) -> dict:
        """Change `points`, `pairs` and labels of points."""
        keep = torch.from_numpy(self._draw(results['points'].coord.numpy()))
        if keep.all():
            return results
        if 'pairs' in results:
            before, after = results['pairs'], results['pairs'].drop_points(keep)
            num_cameras = len(results['cameras'])
            if not self._enough(before.count(num_cameras).numpy(), after.count(num_cameras).numpy()):
                return results
            results['pairs'] = after
        rows = keep.nonzero()[:, 0]
        results['points'] = results['points'][rows]
        for name in _PER_POINT:
            if name in results:
                results[name] = results[name][rows.numpy()]
        return results

    def _draw(self, xyz: np.ndarray) -> np.ndarray:
        # one row per axis: reductions along contiguous memory are several times faster
        axes = np.ascontiguousarray(xyz.T)
        share = np.random.uniform(0, self.max_size)
        center = axes[:, np.random.randint(len(xyz)), None]
        reach = (axes.max(1, keepdims=True) - axes.min(1, keepdims=True)) * share / 2
        return (np.abs(axes - center) >= reach).any(0)

    def _enough(self, before: np.ndarray, after: np.ndarray) -> bool:
        enough = after >= self.min_pairs
        if self.min_pairs_ratio is not None:
            enough |= after >= self.min_pairs_ratio * before
        return bool(enough.all())
