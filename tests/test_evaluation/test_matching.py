from itertools import permutations

import numpy as np
import pytest
from peridot.evaluation.matched_miou import UNMATCHED, hungarian_matching, majority_matching, matched_iou


def tables(shape, count=30):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 20, shape) * (rng.random(shape) < 0.6)


def best_total(confusion) -> int:
    """By trying all one-to-one matchings."""
    tall = confusion if confusion.shape[0] <= confusion.shape[1] else confusion.T
    rows = range(len(tall))
    return max(tall[rows, list(columns)].sum() for columns in permutations(range(tall.shape[1]), len(tall)))


def naive_iou(confusion, matching) -> list[float]:
    values = []
    for wanted in range(confusion.shape[0]):
        hit = missed = wrong = 0
        for true in range(confusion.shape[0]):
            for label in range(confusion.shape[1]):
                for _ in range(confusion[true, label]):
                    hit += true == wanted and matching[label] == wanted
                    missed += true == wanted and matching[label] != wanted
                    wrong += true != wanted and matching[label] == wanted
        values.append(hit / (hit + missed + wrong) if hit + missed else np.nan)
    return values


@pytest.mark.parametrize('shape', [(4, 4), (3, 5), (5, 3), (1, 4)])
def test_hungarian_equals_trying_everything(shape):
    for confusion in tables(shape):
        matching = hungarian_matching(confusion)
        used = matching[matching != UNMATCHED]
        assert len(set(used)) == len(used)
        total = sum(confusion[c, label] for label, c in enumerate(matching) if c != UNMATCHED)
        assert total == best_total(confusion)
        assert all(confusion[c, label] > 0 for label, c in enumerate(matching) if c != UNMATCHED)


def test_large_counts_decide_by_a_single_element():
    confusion = np.full((16, 64), 10**9)
    confusion[5, 60] += 1
    assert hungarian_matching(confusion)[60] == 5


@pytest.mark.parametrize('shape', [(4, 4), (3, 6), (6, 3)])
def test_ties_keep_the_order(shape):
    matching = hungarian_matching(np.full(shape, 7))
    expected = [index if index < shape[0] else UNMATCHED for index in range(shape[1])]
    assert matching.tolist() == expected
    assert majority_matching(np.full(shape, 7)).tolist() == [0] * shape[1]


def test_ties_of_some_labels_keep_their_order():
    # the solver alone exchanges the first two labels
    assert hungarian_matching(np.array([[1, 1, 1], [2, 2, 1], [2, 2, 1]])).tolist() == [1, 2, 0]


@pytest.mark.parametrize('shape', [(4, 4), (3, 5), (5, 3)])
@pytest.mark.parametrize('match', [hungarian_matching, majority_matching])
def test_iou_equals_a_loop_over_elements(shape, match):
    for confusion in tables(shape, 10):
        matching = match(confusion)
        np.testing.assert_allclose(matched_iou(confusion, matching), naive_iou(confusion, matching))


def test_majority_takes_the_most_frequent_class():
    confusion = np.array([[5, 0, 3, 0], [1, 0, 9, 0], [4, 2, 9, 0]])
    assert majority_matching(confusion).tolist() == [0, 2, 1, UNMATCHED]


def test_absent_classes_and_labels_do_not_count():
    confusion = np.array([[8, 0, 0], [0, 0, 0], [2, 0, 6]])
    matching = hungarian_matching(confusion)
    assert matching.tolist() == [0, UNMATCHED, 2]
    iou = matched_iou(confusion, matching)
    np.testing.assert_allclose(iou, [0.8, np.nan, 0.75])
    assert np.nanmean(iou) == pytest.approx(0.775)
