"""Figures of foreground and background."""

from collections.abc import Mapping

import numpy as np

from peridot.visualization.colors import UNLABELED, label_colors
from peridot.visualization.figures import TopView, caption, draw_from_above, legend

# background, foreground
PALETTE = ((60, 110, 160), (255, 170, 40))


def foreground_figure(
    xyz: np.ndarray, truth: np.ndarray, predicted: Mapping[str, np.ndarray], view: TopView | None = None
) -> np.ndarray:
    """Foreground from above: the truth and each prediction side by side.

    Args:
        xyz: Float (N, 3), meters, lidar frame.
        truth: Int (N,), 0 for background, 1 for foreground, other values for points without ground truth.
        predicted: Bool (N,) each, by the name that is written above.
        view: Area that is shown, by default most of the cloud.

    Returns:
        Uint8 (H, W, 3).
    """
    view, known = view or TopView.fit(xyz), (truth == 0) | (truth == 1)
    shown = {'ground truth': truth, **{name: np.where(known, labels, truth) for name, labels in predicted.items()}}
    clouds = [
        caption(draw_from_above(xyz, label_colors(labels, PALETTE), view, np.where(labels == 1, 1, 0)), name)
        for name, labels in shown.items()
    ]
    row = np.hstack(clouds)
    names = legend(['background', 'foreground', 'no ground truth'], [*PALETTE, UNLABELED], row.shape[1])
    return np.vstack([row, names])
