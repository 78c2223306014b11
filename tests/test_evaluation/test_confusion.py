import numpy as np
import pytest
from peridot.evaluation.confusion import class_iou, confusion_matrix


@pytest.mark.parametrize('labels', [None, 3, 6])
def test_confusion_equals_a_loop(labels):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(-1, 6, 400), rng.integers(-2, 8, 400)
    width = labels or 4
    expected = np.zeros((4, width + 1), int)
    for true, found in zip(truth, predicted):
        if true in (0, 1, 3):
            expected[true, found if 0 <= found < width else width] += 1
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 4, 2, labels), expected)


def test_iou_of_classes():
    """The last column is of no class: it counts for the classes that it misses alone."""
    confusion = np.array([[6, 2, 2], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(class_iou(confusion, confusion.sum(1)), [0.6, np.nan, np.nan])
    np.testing.assert_allclose(
        class_iou(confusion, np.array([12, 0, 0]), np.array([True, True, False])), [0.5, 0, np.nan]
    )
