"""What metrics keep of a scan or image does not grow with its points or pixels: the table of docs/performance.md."""

import pickle

import numpy as np
import pytest
import torch
from mmdet3d.structures import PointData
from peridot.catalog import CATALOG
from peridot.evaluation import ForegroundMetric, MatchedMeanIoU, PointSegMetric

META = {**CATALOG['nuscenes'].segmentation_meta(), 'dataset': 'nuscenes'}
CLASSES, WAYS, CLUSTERS = len(META['classes']), 11, 31


def of_points(count: int) -> dict:
    truth = np.arange(count) % CLASSES
    return dict(
        pred_pts_seg=PointData(pts_semantic_mask=torch.zeros(count)), eval_ann_info=dict(pts_semantic_mask=truth)
    )


def of_foreground(count: int) -> dict:
    predicted = {f'seed@{way}': torch.ones(count, dtype=torch.bool) for way in range(WAYS)}
    return dict(pred_foreground=predicted, eval_ann_info=dict(pts_semantic_mask=np.arange(count) % CLASSES))


def of_image(count: int) -> dict:
    labels = (torch.arange(count) % CLASSES)[None]
    return dict(gt_sem_seg=dict(data=labels), pred_sem_seg=dict(data=labels), img_path='a.jpg')


@pytest.mark.parametrize(
    ('metric', 'sample', 'numbers'),
    [
        (PointSegMetric(), of_points, CLASSES * (CLASSES + 1)),
        (ForegroundMetric(), of_foreground, WAYS * 2 * 3),
        (MatchedMeanIoU(CLUSTERS), of_image, CLASSES * (CLUSTERS + 1)),
    ],
)
def test_only_confusion_matrices_are_kept(metric, sample, numbers):
    metric.dataset_meta = META
    sizes = []
    for points in (347, 34688):
        metric.results = []
        metric.process({}, [sample(points)])
        # what the first process gathers
        sizes.append(len(pickle.dumps(metric.results)))
    # beside the numbers names, types and shapes
    assert sizes[0] == sizes[1] < 8 * numbers + 600
