import json
from itertools import permutations

import numpy as np
import pytest
import torch
from peridot.errors import ConfigError, DataError
from peridot.evaluation import confusion_matrix
from peridot.evaluation.matched_miou import (
    UNMATCHED,
    MatchedMeanIoU,
    majority_matching,
    match_clusters,
    matched_iou,
    matched_scores,
)
from peridot.registry import METRICS

# clusters by classes in the description of the method
TABLE = np.array([[50, 2, 0], [3, 0, 40], [0, 30, 5], [20, 1, 0]]).T


def tables(shape, count=40):
    rng = np.random.default_rng(0)
    for index in range(count):
        # small numbers make ties, an absent class comes with every third
        confusion = rng.integers(0, 4, shape) * (rng.random(shape) < 0.7)
        confusion[0] *= index % 3 > 0
        if confusion.any():
            yield confusion


def sample(truth, predicted, logits=None):
    packed = {
        'gt_sem_seg': {'data': torch.tensor(truth)[None]},
        'pred_sem_seg': {'data': torch.tensor(predicted)[None]},
    }
    return {**packed, 'img_path': 'a.png', **({'seg_logits': {'data': logits}} if logits is not None else {})}


def metric(classes=3, **settings):
    made = METRICS.build({'type': 'peridot.MatchedMeanIoU', **settings})
    made.dataset_meta = {'classes': [f'class{index}' for index in range(classes)]}
    return made


@pytest.mark.parametrize(
    ('unmatched', 'miou', 'accuracy'),
    [('false_negative', 0.763158, 120 / 151), ('drop', 0.851078, 0.923077), ('majority', 0.847953, 0.927152)],
)
def test_scores_of_the_description(unmatched, miou, accuracy):
    scores = matched_scores(TABLE, unmatched=unmatched)
    assert scores.matching[:3].tolist() == [0, 2, 1]
    assert scores.matching[3] == (0 if unmatched == 'majority' else UNMATCHED)
    assert scores.miou == pytest.approx(miou, abs=1e-6) and scores.accuracy == pytest.approx(accuracy, abs=1e-6)
    if unmatched == 'false_negative':
        np.testing.assert_allclose(scores.iou, [0.666667, 0.789474, 0.833333], atol=1e-6)


@pytest.mark.parametrize('shape', [(3, 3), (3, 5), (4, 2)])
def test_matching_is_the_best_of_all(shape):
    for confusion in tables(shape):
        present = np.flatnonzero(confusion.any(1))
        part = confusion[present]
        iou = part / np.maximum(part.sum(1, keepdims=True) + part.sum(0) - part, 1)
        tall = (len(present) > shape[1], part.T, iou.T) if len(present) > shape[1] else (False, part, iou)
        rows = range(len(tall[1]))
        options = [
            (tall[1][rows, list(c)].sum(), tall[2][rows, list(c)].sum())
            for c in permutations(range(tall[1].shape[1]), len(rows))
        ]
        best = max(options, key=lambda pair: (pair[0], round(pair[1], 9)))
        matching = match_clusters(confusion)
        used = [(true, cluster) for cluster, true in enumerate(matching) if true != UNMATCHED]
        place = {true: index for index, true in enumerate(present)}
        assert len({true for true, _ in used}) == len(used)
        assert sum(confusion[pair] for pair in used) == best[0]
        assert sum(iou[place[true], cluster] for true, cluster in used) == pytest.approx(best[1])


@pytest.mark.parametrize('shape', [(3, 5), (4, 4), (5, 3)])
def test_numbers_of_clusters_mean_nothing_with_ties(shape):
    rng = np.random.default_rng(1)
    for confusion in tables(shape):
        missed = rng.integers(0, 9, shape[0]) * confusion.any(1)
        scores = matched_scores(confusion, missed=missed)
        for _ in range(4):
            order = rng.permutation(shape[1])
            other = matched_scores(confusion[:, order], missed=missed)
            assert other.miou == pytest.approx(scores.miou, abs=1e-12)
            assert other.accuracy == pytest.approx(scores.accuracy, abs=1e-12)


@pytest.mark.parametrize('clusters', permutations(range(3)))
@pytest.mark.parametrize('classes', permutations(range(3)))
def test_ties_go_to_the_larger_iou_which_counts_missed_pixels(classes, clusters):
    """Two classes share two clusters alike, but one cluster is larger and one class has pixels without cluster."""
    confusion, missed = np.array([[2, 2, 0], [2, 2, 0], [0, 5, 9]]), np.array([0, 10, 0])
    matching = match_clusters(confusion[np.ix_(classes, clusters)], missed=missed[list(classes)])
    assert [classes[matching[clusters.index(cluster)]] for cluster in range(3)] == [0, 1, 2]


@pytest.mark.parametrize('unmatched', ['drop', 'majority'])
def test_numbers_of_clusters_mean_nothing_to_other_treatments(unmatched):
    rng = np.random.default_rng(1)
    confusion = rng.integers(0, 10**6, (3, 5))
    scores = matched_scores(confusion, unmatched=unmatched)
    other = matched_scores(confusion[:, [3, 1, 4, 0, 2]], unmatched=unmatched)
    assert other.miou == pytest.approx(scores.miou, abs=1e-12) and scores.miou > matched_scores(confusion).miou


def test_perfect_prediction_under_other_numbers():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (20, 30))
    confusion = confusion_matrix(truth.ravel(), rng.permutation(7)[truth].ravel(), 5, 255, 7)[:, :-1]
    scores = matched_scores(confusion)
    assert scores.miou == scores.accuracy == scores.class_accuracy == 1


def test_named_clusters_score_as_in_mmsegmentation():
    """As many clusters as classes, mostly right: the matching is the identity."""
    metrics = pytest.importorskip('mmseg.evaluation.metrics', reason='mmsegmentation is not installed')
    rng = np.random.default_rng(0)
    theirs, ours = metrics.IoUMetric(), metric(classes=4, num_clusters=4)
    theirs.dataset_meta = ours.dataset_meta
    for _ in range(3):
        truth = rng.integers(0, 4, (20, 30))
        noisy = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, 4, truth.shape), truth)
        truth[:2] = 255
        for part in (theirs, ours):
            part.process({}, [sample(truth, noisy)])
    expected, found = theirs.evaluate(3), ours.evaluate(3)
    for name, own in (('mIoU', 'miou'), ('aAcc', 'acc'), ('mAcc', 'acc_cls')):
        assert 100 * found[f'matched/{own}'] == pytest.approx(expected[name], abs=0.006)


def test_a_class_split_in_two_clusters():
    confusion = np.array([[50, 50, 0], [0, 0, 80]])
    assert matched_scores(confusion).iou.tolist() == [0.5, 1]
    assert matched_scores(confusion, unmatched='majority').iou.tolist() == [1, 1]
    assert matched_scores(confusion, unmatched='drop').iou.tolist() == [1, 1]


def test_fewer_clusters_than_classes_and_absent_ones():
    scores = matched_scores(np.array([[9, 0], [0, 0], [0, 5], [3, 0]]))
    assert scores.matching.tolist() == [0, 2] and scores.present == 3
    np.testing.assert_allclose(scores.iou, [0.75, np.nan, 1, 0])
    assert scores.miou == pytest.approx(1.75 / 3) and scores.accuracy == pytest.approx(14 / 17)


def test_images_add_up_whatever_the_batches():
    rng = np.random.default_rng(0)
    samples = [sample(rng.integers(0, 3, (6, 8)), rng.integers(0, 4, (6, 8))) for _ in range(6)]
    together, apart = metric(num_clusters=4), metric(num_clusters=4)
    together.process({}, samples)
    for part in samples:
        apart.process({}, [part])
    found = together.evaluate(6)
    assert found == apart.evaluate(6)
    truth, predicted = (
        np.stack([part[key]['data'].numpy() for part in samples]).ravel() for key in ('gt_sem_seg', 'pred_sem_seg')
    )
    scores = matched_scores(confusion_matrix(truth, predicted, 3, 255, 4)[:, :-1])
    assert found['matched/miou'] == scores.miou and found['matched/acc'] == scores.accuracy
    assert found['matched/class1'] == scores.iou[1] and found['matched/num_present'] == 3


def test_ignored_pixels_and_pixels_without_cluster():
    made = metric(num_clusters=2)
    made.process({}, [sample([[0, 0, 1, 255]], [[1, -1, 0, 0]])])
    found = made.evaluate(1)
    assert (
        found['matched/class0'] == 0.5 and found['matched/class1'] == 1 and found['matched/acc'] == pytest.approx(2 / 3)
    )


def test_number_of_clusters_from_the_logits():
    made = metric()
    made.process({}, [sample([[0, 1]], [[6, 2]], torch.zeros(7, 1, 2))])
    assert made.results[0][1].shape == (3, 8) and made.evaluate(1)['matched/acc'] == 1


def test_groups_are_matched_by_themselves():
    # what is cluster 0 by day is cluster 1 at night
    day, night = sample([[0, 1, 1]], [[0, 1, 1]]), sample([[0, 1, 1, 1]], [[1, 0, 0, 1]])
    made = metric(2, num_clusters=2, group='condition')
    made.process({}, [{**day, 'condition': 'day'}, {**night, 'condition': 'night'}])
    found = made.evaluate(2)
    assert found['matched/day/miou'] == found['matched/day/acc'] == 1
    assert found['matched/night/acc'] == 0.75 and found['matched/night/miou'] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found['matched/mean/acc'] == 0.875 and found['matched/mean/miou'] == pytest.approx(19 / 24)
    assert found['matched/acc'] == pytest.approx(4 / 7)
    plain = metric(2, num_clusters=2)
    plain.process({}, [day, night])
    together = plain.evaluate(2)
    assert together == {name: value for name, value in found.items() if name in together} and len(together) == 6
    with pytest.raises(ConfigError, match=r"a\.png has no 'condition', the group of MatchedMeanIoU: .*meta_keys"):
        made.process({}, [day])


def test_the_matching_is_kept(tmp_path):
    made = metric(3, num_clusters=4, matching_file=str(tmp_path / 'new' / 'matching.json'))
    made.dataset_meta['palette'] = [(1, 2, 3), np.array([4, 5, 6]), [7, 8, 9]]
    made.process({}, [sample([[0, 0, 2]], [[3, 3, 1]])])
    found = made.evaluate(1)
    content = json.loads((tmp_path / 'new' / 'matching.json').read_text())
    assert content['matching'] == [-1, 2, -1, 0] and content['classes'] == ['class0', 'class1', 'class2']
    assert content['palette'] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert content['miou'] == found['matched/miou'] == content['acc'] == 1


def test_labels_outside_the_class_list_are_an_error():
    with pytest.raises(DataError, match=r'a\.png: label 7 is neither one of 3 classes nor the ignored 255'):
        metric(num_clusters=4).process({}, [sample([[0, 7]], [[0, 1]])])


@pytest.mark.parametrize('value', [4, -2, 255])
def test_predictions_outside_the_clusters_are_an_error(value):
    with pytest.raises(ConfigError, match=rf'a\.png: prediction {value} is none of 4 clusters: set num_clusters'):
        metric(num_clusters=4).process({}, [sample([[0, 1]], [[0, value]])])


def test_other_sizes_are_an_error():
    with pytest.raises(DataError, match=r'a\.png: the labels have 1x2 pixels, the prediction 1x3'):
        metric(num_clusters=4).process({}, [sample([[0, 1]], [[0, 1, 2]])])


def test_nothing_to_evaluate_is_an_error():
    made = metric(num_clusters=2)
    made.process({}, [sample([[255, 255]], [[0, 1]])])
    with pytest.raises(DataError, match='no evaluated pixel has a class'):
        made.evaluate(1)


def test_unknown_treatment():
    with pytest.raises(ConfigError, match="MatchedMeanIoU: unmatched='zero' must be one of false_negative, drop, maj"):
        MatchedMeanIoU(unmatched='zero')


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
@pytest.mark.parametrize('match', [match_clusters, majority_matching])
def test_iou_equals_a_loop_over_elements(shape, match):
    for confusion in tables(shape, 10):
        matching = match(confusion)
        np.testing.assert_allclose(matched_iou(confusion, matching), naive_iou(confusion, matching))


def test_large_counts_decide_by_a_single_element():
    confusion = np.full((16, 64), 10**9)
    confusion[5, 60] += 1
    assert match_clusters(confusion)[60] == 5


def test_majority_takes_the_most_frequent_class():
    confusion = np.array([[5, 0, 3, 0], [1, 0, 9, 0], [4, 2, 9, 0]])
    assert majority_matching(confusion).tolist() == [0, 2, 1, UNMATCHED]


def test_absent_classes_and_clusters_do_not_count():
    confusion = np.array([[8, 0, 0], [0, 0, 0], [2, 0, 6]])
    matching = match_clusters(confusion)
    assert matching.tolist() == [0, UNMATCHED, 2]
    iou = matched_iou(confusion, matching)
    np.testing.assert_allclose(iou, [0.8, np.nan, 0.75])
    assert np.nanmean(iou) == pytest.approx(0.775)
