"""Slow and simple versions of what the package does fast."""

import numpy as np
from torch import Tensor, zeros_like


def surface_angle(first, second, step):
    """Angle in radians between the longer of two neighboring beams and the line through their ends."""
    far, near = np.maximum(first, second), np.minimum(first, second)
    return np.arctan2(near * np.sin(step), far - near * np.cos(step))


def pool_regions(scores: Tensor, regions: Tensor) -> Tensor:
    """Scores (N, K, H, W) of each pixel replaced by the mean of its region (N, H, W), zero where there is none."""
    pooled = zeros_like(scores)
    for image, ids in enumerate(regions):
        for region in ids.unique():
            if region >= 0:
                pooled[image][:, ids == region] = scores[image][:, ids == region].mean(1, keepdim=True)
    return pooled
