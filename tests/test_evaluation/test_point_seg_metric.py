import numpy as np
import pytest
import torch
from mmdet3d.evaluation import SegMetric
from mmdet3d.structures import PointData
from peridot.errors import DataError
from peridot.evaluation import PointSegMetric

CLASSES = ('road', 'car', 'tree', 'pole')
META = dict(classes=CLASSES, ignore_index=4, label2cat=dict(enumerate(CLASSES)))


def evaluate(metric, scans) -> dict:
    metric.dataset_meta = META
    samples = [
        dict(
            pred_pts_seg=PointData(pts_semantic_mask=torch.from_numpy(predicted)),
            eval_ann_info=dict(pts_semantic_mask=truth),
        )
        for truth, predicted in scans
    ]
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def random_scans(classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    for points in (500, 300):
        truth = rng.choice([*range(classes), META['ignore_index']], points)
        yield truth, np.where(rng.random(points) < 0.6, truth, rng.integers(0, 4, points)).clip(0, 3)


def test_equals_mmdet3d_where_all_classes_occur():
    ours = evaluate(PointSegMetric(), random_scans(4))
    theirs = evaluate(SegMetric(), random_scans(4))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value), name


def test_other_predictions_have_a_mean_of_their_own():
    metric, (truth, predicted) = PointSegMetric(), next(random_scans(4))
    metric.dataset_meta = META
    both = PointData(pts_semantic_mask=torch.from_numpy(predicted), mlp=torch.from_numpy(truth.clip(0, 3)))
    metric.process({}, [dict(pred_pts_seg=both, eval_ann_info=dict(pts_semantic_mask=truth))])
    result, alone = metric.evaluate(1), evaluate(PointSegMetric(), [(truth, predicted)])
    assert result.pop('mlp_miou') == 1 and result == alone


def test_a_class_without_ground_truth_is_absent():
    scans = list(random_scans(3))
    assert any((predicted == 3).any() for _, predicted in scans)
    result = evaluate(PointSegMetric(), scans)
    assert np.isnan(result['pole'])
    assert result['miou'] == pytest.approx(np.mean([result[name] for name in CLASSES[:3]]))
    # mmdet3d's counts it as 0: the reason for a metric of our own
    assert evaluate(SegMetric(), scans)['pole'] == 0


def test_a_prediction_outside_the_classes_is_a_miss():
    truth = np.array([0, 0, 1, 1])
    result = evaluate(PointSegMetric(), [(truth, np.array([0, 4, 1, -1]))])
    assert (result['road'], result['car'], result['acc']) == (0.5, 0.5, 0.5)


def test_a_set_without_any_label_is_an_error():
    with pytest.raises(DataError, match='has a label'):
        evaluate(PointSegMetric(), [(np.full(5, 4), np.zeros(5, int))])
