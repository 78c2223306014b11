import numpy as np
import pytest
from mmdet3d.evaluation import kitti_eval
from peridot.compat.kitti_eval import rotate_iou
from shapely import affinity
from shapely.geometry import box


def polygon(x, y, width, height, angle):
    return affinity.rotate(box(x - width / 2, y - height / 2, x + width / 2, y + height / 2), -angle, use_radians=True)


@pytest.mark.parametrize('criterion', [-1, 0, 1, 2])
def test_overlaps_are_those_of_the_polygons(criterion):
    rng = np.random.default_rng(0)
    ours, theirs = (np.c_[rng.uniform(0, 4, (n, 2)), rng.uniform(1, 5, (n, 2)), rng.uniform(-4, 4, n)] for n in (6, 5))
    wanted = np.zeros((6, 5))
    for i, one in enumerate(ours):
        for j, other in enumerate(theirs):
            a, b = polygon(*one), polygon(*other)
            shared = a.intersection(b).area
            wanted[i, j] = shared / {-1: a.union(b).area, 0: b.area, 1: a.area, 2: 1.0}[criterion]
    np.testing.assert_allclose(rotate_iou(ours, theirs, criterion), wanted, atol=2e-4)
    assert rotate_iou(ours[:0], theirs, criterion).shape == (0, 5)


def annotations(shift: float) -> dict:
    return dict(
        name=np.array(['Car'] * 3),
        truncated=np.zeros(3),
        occluded=np.zeros(3, int),
        alpha=np.zeros(3),
        bbox=np.array([[0.0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]]),
        dimensions=np.tile([3.9, 1.5, 1.6], (3, 1)),
        location=np.array([[-10.0 + shift, 1, 20], [0 + shift, 1, 20], [10 + shift, 1, 20]]),
        rotation_y=np.array([0.0, 0.4, 1.5]),
        score=np.array([0.9, 0.8, 0.7]),
    )


@pytest.mark.parametrize(('shift', 'found'), [(0.0, True), (3.0, False)])
def test_kitti_metric_runs_without_cuda(shift, found):
    truth, results = [annotations(0.0)] * 20, [annotations(shift)] * 20
    metrics = kitti_eval(truth, results, ['Car'], eval_types=['bbox', 'bev', '3d'])[1]
    value = metrics['KITTI/Car_3D_AP40_moderate_strict']
    assert (value > 90) if found else (value < 10)
