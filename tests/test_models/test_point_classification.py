import pytest
import torch
import torch.nn.functional as F
from mmdet3d.structures import Det3DDataSample, PointData
from peridot.errors import ConfigError, DataError
from peridot.models.heads import LatentHead
from peridot.models.objectives import PointClassification
from peridot.models.pretrainer import _point_labels
from tiny import make_batch
from torch import nn

CLASSES, IGNORED = 4, 9


def batch_of(labels, num_points=50):
    generator = torch.Generator().manual_seed(0)
    return make_batch(
        points=torch.randn(num_points, 4, generator=generator),
        student=torch.randn(num_points, 6, generator=generator).requires_grad_(),
        heads=nn.ModuleDict(dict(classes=LatentHead(6, channels=CLASSES))),
        labels=labels,
    )


def random_labels():
    labels = torch.randint(CLASSES, (50,), generator=torch.Generator().manual_seed(1))
    return torch.where(torch.arange(50) % 3 == 0, IGNORED, labels)


def naive_lovasz(logits, labels):
    """Berman et al., algorithm 1, for each class that is present."""
    losses = []
    for label in labels.unique():
        truth = (labels == label).double()
        errors, order = (truth - logits.softmax(1)[:, label]).abs().sort(descending=True)
        jaccard = [
            1 - truth[order[k:]].sum() / (truth.sum() + (1 - truth[order[:k]]).sum()) for k in range(len(order) + 1)
        ]
        losses.append(sum(error * (after - before) for error, before, after in zip(errors, jaccard, jaccard[1:])))
    return sum(losses) / len(losses)


def test_losses_are_those_of_the_labeled_points():
    batch = batch_of(random_labels())
    found = PointClassification(ignore_index=IGNORED)(batch)
    rows = (batch.labels != IGNORED).nonzero()[:, 0]
    logits, labels = batch.embed_points('classes', rows), batch.labels[rows]
    assert found['loss_ce'] == F.cross_entropy(logits, labels)
    torch.testing.assert_close(found['loss_lovasz'], naive_lovasz(logits.double(), labels).float())
    assert found['points'] == len(rows) and found['accuracy'] == (logits.argmax(1) == labels).float().mean()


def test_a_batch_without_a_labeled_point_has_zero_loss_and_gradient():
    batch = batch_of(torch.full((50,), IGNORED))
    found = PointClassification(ignore_index=IGNORED)(batch)
    (found['loss_ce'] + found['loss_lovasz']).backward()
    assert found['loss_ce'] == 0 and not batch.heads['classes'].student.weight.grad.any()


def test_bad_labels_are_refused():
    with pytest.raises(ConfigError, match='LoadPointLabels'):
        PointClassification()(batch_of(None))
    with pytest.raises(DataError, match=r"from 0 to 9, but the head 'classes' has 4"):
        PointClassification(ignore_index=255)(batch_of(random_labels()))


def test_labels_of_a_batch_follow_its_clouds():
    samples = [Det3DDataSample(), Det3DDataSample()]
    assert _point_labels(samples, 5) is None
    for sample, labels in zip(samples, ([1, 2], [3, 0, 1])):
        sample.gt_pts_seg = PointData(pts_semantic_mask=torch.tensor(labels))
    assert _point_labels(samples, 5).tolist() == [1, 2, 3, 0, 1]
    assert _point_labels(samples, 9) is None
