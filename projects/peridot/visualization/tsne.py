"""t-SNE of point features, which shows whether points of one class lie together."""

from collections.abc import Sequence

import numpy as np


class BalancedSample:
    """Random points of any number of scans, at most `per_class` of every class, with their features.

    Whichever scan it is of, a point of a class is drawn with the same probability.

    Args:
        num_classes: Number of classes K.
        per_class: Largest number of points of a class.
        seed: Seed of the draw.

    Attributes:
        features: Float (M, C), M <= K * `per_class`; None before the first scan.
        labels: Int (M,), their classes, in [0, K).
    """

    def __init__(self, num_classes: int, per_class: int, seed: int = 0) -> None:
        self.num_classes = num_classes
        self.per_class = per_class
        self.features: np.ndarray | None = None
        self.labels = np.zeros(0, np.int64)
        # those with the lowest numbers are drawn
        self._numbers = np.zeros(0)
        self._rng = np.random.default_rng(seed)

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Draw from one more scan: features (N, C) and classes (N,), of which those outside [0, K) are left out."""
        numbers = self._rng.random(len(labels))
        rows = self._drawn(numbers, labels)
        # of most scans few points are copied
        features = features[rows] if self.features is None else np.concatenate([self.features, features[rows]])
        labels, numbers = np.append(self.labels, labels[rows]), np.append(self._numbers, numbers[rows])
        rows = self._drawn(numbers, labels)
        self.features, self.labels, self._numbers = features[rows], labels[rows], numbers[rows]

    def _drawn(self, numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
        own = [np.flatnonzero(labels == label) for label in range(self.num_classes)]
        drawn = [rows[np.argsort(numbers[rows])[: self.per_class]] for rows in own]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *drawn]))


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of unit features by cosine distance.

    Args:
        features: Float (M, C), M > 3; a few thousand rows take a minute.
        seed: Seed of the random choices.

    Returns:
        Float32 (M, 2).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    # for unit vectors the squared distance is twice the cosine distance
    perplexity = min(30.0, (len(unit) - 1) / 3)
    # threads synchronize a thousand times: on a busy machine several are ten times slower than one
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(unit.astype(np.float32))


def class_map(
    positions: np.ndarray, labels: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """Scatter plot with the name of every class at the most central of its points.

    Args:
        positions: Float (M, 2).
        labels: Int (M,), in [0, K).
        classes: Names of the K classes.
        palette: Their RGB colors.

    Returns:
        Uint8 (1000, 1200, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(12, 10), dpi=100, layout='constrained')
    axes = figure.add_subplot()
    for label in np.unique(labels):
        own = positions[labels == label]
        color = np.array(palette[label]) / 255
        axes.scatter(*own.T, s=14, color=color, label=f'{classes[label]} ({len(own)})', linewidths=0)
        outline = [withStroke(linewidth=3, foreground='white')]
        central = own[np.linalg.norm(own - np.median(own, axis=0), axis=1).argmin()]
        name = axes.text(*central, classes[label], ha='center', fontsize=11, path_effects=outline)
        # the layout is computed before the limits of the axes, when the name would lie far outside
        name.set_in_layout(False)
    axes.set_axis_off()
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
