"""Evaluations have the same numbers in any number of processes, though these do not divide the number of samples."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, PointData
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.evaluator import Evaluator
from peridot.evaluation import (
    ForegroundMetric,
    LinearProbeLoop,
    MatchedMeanIoU,
    PointSegMetric,
    discovery,
    linear_probe,
)
from peridot.evaluation.discovery import DiscoveryLoop, gather_samples
from peridot.evaluation.linear_probe import build_fit_dataloader
from peridot.registry import DATASETS
from processes import in_processes
from torch import nn

SAMPLES, BATCH, CLASSES, IGNORED = 5, 4, 3, 3
META = dict(classes=('road', 'car', 'tree'), ignore_index=IGNORED, dataset='made up')


@DATASETS.register_module()
class FiveScans(BaseDataset):
    """Points whose first coordinate says their class, more or less, and images of one number."""

    METAINFO = META

    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(SAMPLES)]

    def prepare_data(self, index: int) -> dict:
        g = torch.Generator().manual_seed(index)
        labels = torch.randint(CLASSES + 1, (60 + 10 * index,), generator=g)
        points = torch.randn(len(labels), 4, generator=g)
        points[:, 0] += 2 * labels
        images = torch.full((1 + index % 2, 1), float(index))
        sample = Det3DDataSample(gt_pts_seg=PointData(pts_semantic_mask=labels))
        return dict(inputs=dict(points=points, images=images), data_samples=sample)


class Model(nn.Module):
    """Features are the points: the same numbers in batches of any size."""

    teacher = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def data_preprocessor(self, data, training):
        inputs = dict(points=data['inputs']['points'], images=torch.cat(data['inputs']['images']))
        return dict(inputs=inputs, data_samples=data['data_samples'])

    def forward(self, inputs, data_samples, mode):
        return inputs['points']


def settings(batch_size):
    return dict(
        dataset=dict(type='peridot.FiveScans'),
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )


def loader(batch_size):
    return build_fit_dataloader(settings(batch_size), SAMPLES)


def probe(batch_size):
    """Metrics of a linear probe and of those beside it."""
    nothing = SimpleNamespace()
    runner = SimpleNamespace(model=Model(), hooks=[], call_hook=lambda *args, **kwargs: None, visualizer=nothing)
    return LinearProbeLoop(runner, loader(batch_size), Evaluator([PointSegMetric()]), settings(batch_size)).run()


def patches(batch_size):
    """What foreground discovery fits its classifier on."""
    runner = SimpleNamespace(model=Model())
    return DiscoveryLoop._collect(SimpleNamespace(runner=runner, fit_dataloader=loader(batch_size), threshold=3.0))


def made_up_background(teacher, images, threshold):
    """Two patches of each image."""
    features = images[:, :, None] + torch.tensor([[0.0], [0.5]])
    return features, features[..., 0] < threshold, features[:, 0]


def evaluated(metric, make):
    """Numbers of a metric, to which the processes give samples as data loaders do."""
    metric.dataset_meta = META
    for index in DefaultSampler(range(SAMPLES), shuffle=False):
        rng = np.random.default_rng(index)
        metric.process({}, [make(rng.integers(CLASSES + 1, size=50), rng.integers(CLASSES, size=50))])
    return metric.evaluate(SAMPLES)


def foreground_sample(truth, predicted):
    return dict(eval_ann_info=dict(pts_semantic_mask=truth), pred_foreground=dict(a=torch.from_numpy(predicted) > 0))


def image_sample(truth, predicted):
    return dict(gt_sem_seg=dict(data=truth[None]), pred_sem_seg=dict(data=predicted[None]))


def work(rank, count):
    return dict(
        probe=probe(BATCH // count),
        patches=patches(BATCH // count),
        foreground=evaluated(ForegroundMetric(foreground=['car']), foreground_sample),
        matched=evaluated(MatchedMeanIoU(num_clusters=CLASSES), image_sample),
        gathered=gather_samples([10 * rank + i for i in range(3 - rank)], SAMPLES),
    )


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """Results of every process, by the number of processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, 'find_background', made_up_background)
        # draw from the scans, and many steps of the probes, for which the order of the points counts
        patch.setattr(linear_probe, 'POINTS_PER_SCAN', 50)
        patch.setattr(linear_probe, 'fit_linear_probe', partial(linear_probe.fit_linear_probe, batch_size=16))
        # mmengine's metrics exchange files below the current folder
        patch.chdir(tmp_path_factory.mktemp('exchange'))
        results = {
            count: in_processes(partial(work, count=count), count, tmp_path_factory.mktemp('found')) for count in (2, 4)
        }
        return results | {1: [work(0, 1)]}


@pytest.mark.parametrize('count', [2, 4])
def test_numbers_of_one_process(found, count):
    (alone,) = found[1]
    assert 0.5 < alone['probe']['miou'] < 1 and {'balanced_miou', 'mlp_miou'} < set(alone['probe'])
    for own in found[count]:
        assert [own[name] for name in ('probe', 'foreground', 'matched')] == [
            alone[name] for name in ('probe', 'foreground', 'matched')
        ]


@pytest.mark.parametrize('count', [1, 2, 4])
def test_every_image_is_fitted_once_and_in_order(found, count):
    numbers = torch.tensor([0.0, 1, 1, 2, 3, 3, 4])
    expected = (numbers[:, None] + torch.tensor([0.0, 0.5])).flatten()
    for own in found[count]:
        features, foreground, seeds = own['patches']
        assert torch.equal(features[:, 0], expected) and torch.equal(foreground, expected >= 3)
        assert torch.equal(seeds[:, 0], numbers)


def test_results_are_dealt_back(found):
    # the first process has 0 to 2, the second 10 and 11; of four, the last two have fewer or none
    assert [own['gathered'] for own in found[2]] == [[0, 10, 1, 11, 2]] * 2
    assert [own['gathered'] for own in found[4]] == [[0, 10, 20, 1, 11]] * 4
