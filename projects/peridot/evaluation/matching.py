"""Comparison of labels without names (clusters) with true classes, from their confusion matrix."""

import numpy as np
from scipy.optimize import linear_sum_assignment

UNMATCHED = -1


def hungarian_matching(confusion: np.ndarray) -> np.ndarray:
    """One-to-one matching that gives the most elements their true class.

    Among equally good matchings one that keeps the order of classes and labels is preferred, so that the result
    is the same everywhere.

    Args:
        confusion: (C, L) counts of elements by true class and label; C and L may differ.

    Returns:
        (L,) int64 class of each label, `UNMATCHED` for labels that are left over or share no element with the class
        that is left for them.
    """
    classes, labels = confusion.shape
    order = np.outer(np.arange(classes, 0, -1), np.arange(labels, 0, -1))
    # in total less than one element
    preference = order / (2 * order.max() * min(classes, labels))
    rows, columns = linear_sum_assignment(confusion + preference, maximize=True)
    matching = np.full(labels, UNMATCHED)
    matching[columns] = np.where(confusion[rows, columns] > 0, rows, UNMATCHED)
    return matching


def majority_matching(confusion: np.ndarray) -> np.ndarray:
    """Many-to-one matching: each label takes the class that most of its elements have.

    Args:
        confusion: (C, L) counts of elements by true class and label.

    Returns:
        (L,) int64 class of each label, the first among equals, `UNMATCHED` for labels without elements.
    """
    return np.where(confusion.sum(0) > 0, confusion.argmax(0), UNMATCHED)


def matched_iou(confusion: np.ndarray, matching: np.ndarray) -> np.ndarray:
    """Intersection over union of each true class with the labels matched to it.

    Args:
        confusion: (C, L) counts of elements by true class and label.
        matching: (L,) class of each label or `UNMATCHED`; elements of unmatched labels count as missed.

    Returns:
        (C,) float64, NaN for classes without elements: `np.nanmean` is the mIoU.
    """
    present = confusion.sum(1)
    merged = np.zeros((len(confusion), len(confusion)), dtype=confusion.dtype)
    matched = matching != UNMATCHED
    np.add.at(merged.T, matching[matched], confusion.T[matched])
    hits = np.diagonal(merged)
    union = present + merged.sum(0) - hits
    return np.where(present > 0, hits / np.maximum(union, 1), np.nan)
