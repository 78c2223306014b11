"""Colors of points and pixels: by feature, number or class."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from scipy.linalg import eigh
from torch import Tensor

CORRECT = (105, 105, 105)
WRONG = (255, 45, 45)
UNLABELED = (45, 45, 45)


def pca_colors(features: Tensor) -> np.ndarray:
    """First three principal components as colors.

    Args:
        features: Float (N, C).

    Returns:
        Uint8 (N, 3); each component is stretched between its 2nd and 98th percentile.
    """
    # a figure must not stop a training run, in whose first steps features may overflow
    centered = F.normalize(features.float().nan_to_num(0, 0, 0), dim=1)
    centered = centered - centered.mean(0)
    last = centered.shape[1] - 1
    # of the solvers tried, only this one handles the nearly equal eigenvalues of an untrained network
    _, vectors = eigh((centered.T @ centered).double().cpu().numpy(), subset_by_index=[max(last - 2, 0), last])
    components = centered.cpu().numpy() @ vectors[:, ::-1].astype(np.float32)
    low, high = np.percentile(components, [2, 98], axis=0)
    return (255 * np.clip((components - low) / np.maximum(high - low, 1e-9), 0, 1)).astype(np.uint8)


def similarity_colors(features: Tensor, query: int) -> np.ndarray:
    """Cosine similarity to the point in row `query`, from dark blue (0 and less) to yellow (1): uint8 (N, 3)."""
    unit = F.normalize(features.float(), dim=1)
    return heat_colors(unit @ unit[query])


def heat_colors(values: Tensor, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Numbers (N,) as colors, from dark blue (`low` and less) to yellow (`high` and more): uint8 (N, 3)."""
    from matplotlib import colormaps

    relative = (values.float().cpu().numpy() - low) / max(high - low, 1e-9)
    return (255 * colormaps['viridis'](np.clip(relative, 0, 1))[:, :3]).astype(np.uint8)


def label_colors(
    labels: np.ndarray, palette: Sequence[Sequence[int]], other: tuple[int, int, int] = UNLABELED
) -> np.ndarray:
    """Color of the class of every point or pixel: uint8 (..., 3).

    Args:
        labels: Int (...).
        palette: RGB of each of the K classes.
        other: RGB of labels outside [0, K), such as the ignored one.
    """
    table = np.array([*palette, other], np.uint8)
    return table[np.where((labels >= 0) & (labels < len(palette)), labels, len(palette))]


def error_colors(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Red for wrong points, gray for correct ones, dark for those without a true class in [0, K): uint8 (N, 3)."""
    colors = np.where((truth == predicted)[:, None], np.uint8(CORRECT), np.uint8(WRONG))
    colors[(truth < 0) | (truth >= num_classes)] = UNLABELED
    return colors
