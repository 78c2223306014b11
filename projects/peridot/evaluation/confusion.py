"""Confusion matrices, and the IoU computed from them."""

import numpy as np


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, count: int, ignore: int, labels: int | None = None
) -> np.ndarray:
    """Count elements by true class and prediction.

    Args:
        truth: Int (N,), true classes; `ignore` and values outside [0, C) are left out.
        predicted: Int (N,).
        count: Number of classes C.
        ignore: Class that is not evaluated.
        labels: Number of predictions L; None for as many as classes.

    Returns:
        Int64 (C, L + 1); the last column counts predictions outside [0, L).
    """
    labels = count if labels is None else labels
    valid = (truth >= 0) & (truth < count) & (truth != ignore)
    truth, predicted = truth[valid], predicted[valid]
    predicted = np.where((predicted >= 0) & (predicted < labels), predicted, labels)
    width = labels + 1
    return np.bincount(truth * width + predicted, minlength=count * width).reshape(count, width)


def class_iou(confusion: np.ndarray, total: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of every class.

    Args:
        confusion: Int (C, >=C), elements by true and predicted class.
        total: Int (C,), elements of each class, with those that `confusion` lacks.
        present: Bool (C,), classes that have an IoU; None for those with elements.

    Returns:
        Float64 (C,), NaN for classes that are not present: `np.nanmean` is the mIoU.
    """
    hits = np.diagonal(confusion)
    union = total + confusion[:, : len(confusion)].sum(0) - hits
    return np.where(total > 0 if present is None else present, hits / np.maximum(union, 1), np.nan)
