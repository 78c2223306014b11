"""Seal's terms over lidar segments, against loops over segments and points."""

import math

import pytest
import torch
from peridot.errors import ConfigError
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import PointSegmentConsistency, SuperpointContrast
from peridot.models.students import VoxelFeatures
from peridot.structures import Frames
from tiny import make_batch

WIDTH, DIM, IDS = 6, 5, 7
# points of the scans, their samples and frames: the last sample has no second frame
SIZES, SAMPLES, FRAMES = [40, 50, 30, 20, 30], [0, 0, 1, 1, 2], [0, 1, 0, 1, 0]


def segments_batch(seed=0, segments=None, inside=None):
    g = torch.Generator().manual_seed(seed)
    head = ProjectionHead(WIDTH, 3, DIM)
    for parameter in head.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=g) * 0.3)
    scan = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    frames = Frames.cat([Frames.single(size, frame=frame) for size, frame in zip(SIZES, FRAMES)])
    frames.sample = torch.tensor(SAMPLES)
    count = len(scan)
    if segments is None:
        segments = torch.randint(-1, IDS - 1, (count,), generator=g)
        # some are in one frame alone
        segments[(scan == 1) & (segments == 2)] = -1
        segments[(scan == 2) & (segments == 4)] = -1
    features = torch.randn(count, WIDTH, generator=g).requires_grad_()
    student = VoxelFeatures(features, torch.arange(count))
    student.inside = inside
    points = torch.randn(count, 4, generator=g)
    fields = dict(scan=scan, frames=frames, segments=segments, num_segments=IDS)
    return make_batch(points, student, dict(instance=head), **fields), features


def mean_of(embeddings, batch, scan, number):
    """Mean embedding of a segment in a scan; None where it has no points."""
    rows = [
        row
        for row in range(len(batch.points))
        if batch.scan[row] == scan
        and batch.segments[row] == number
        and (batch.student.inside is None or batch.student.inside[row])
    ]
    return (sum(embeddings[row] for row in rows) / len(rows), rows) if rows else (None, [])


def embeddings_of(batch):
    return batch.embed_points('instance', torch.arange(len(batch.points)))


def temporal_loop(batch, temperature=0.07):
    """L_tmp: anchors of the keyframe, candidates of the other frame, of all samples."""
    embeddings, anchors, candidates = embeddings_of(batch), [], []
    for here, there in ((0, 1), (2, 3)):
        for number in range(IDS):
            a, b = (mean_of(embeddings, batch, scan, number)[0] for scan in (here, there))
            if a is not None and b is not None:
                anchors.append(a / a.norm())
                candidates.append(b / b.norm())
    losses = []
    for i, anchor in enumerate(anchors):
        logits = [(anchor @ candidate) / temperature for candidate in candidates]
        losses.append(torch.stack(logits).logsumexp(0) - logits[i])
    return sum(losses) / len(losses), len(losses)


def consistency_loop(batch, pairs=((0, 1), (2, 3))):
    """L_p2s."""
    embeddings, losses = embeddings_of(batch), []
    for here, there in pairs:
        for number in range(IDS):
            target = mean_of(embeddings, batch, there, number)[0]
            for row in mean_of(embeddings, batch, here, number)[1] if target is not None else ():
                goal, point = target.detach(), embeddings[row]
                losses.append(1 - (point @ goal) / (point.norm() * goal.norm()))
    return sum(losses) / len(losses), len(losses)


INSIDE = torch.arange(sum(SIZES)) % 5 > 0


@pytest.mark.parametrize('inside', [None, INSIDE], ids=['all', 'inside'])
def test_temporal_contrast_of_segments_equals_a_loop(inside):
    objective = SuperpointContrast(groups=None, frames=((0, 1),), unit_means=True, loss_weight=2)
    (batch, features), (twin, twin_features) = (segments_batch(inside=inside) for _ in range(2))
    results, (expected, count) = objective(batch), temporal_loop(twin)
    torch.testing.assert_close(results['loss'], 2 * expected)
    assert results['superpoints'].item() == count > 5 and results['missing'].item() == 1
    results['loss'].backward()
    (2 * expected).backward()
    torch.testing.assert_close(features.grad, twin_features.grad)
    by_scan = features.grad.abs().sum(1).split(SIZES)
    # both sides learn, the sample with one frame does not
    assert [bool(part.any()) for part in by_scan] == [True, True, True, True, False]


def test_means_that_are_not_unit_vectors_give_another_loss():
    batch, _ = segments_batch()
    unit, plain = (SuperpointContrast(groups=None, frames=((0, 1),), unit_means=u)(batch) for u in (True, False))
    assert abs(unit['loss'].item() - plain['loss'].item()) > 1e-3


@pytest.mark.parametrize('inside', [None, INSIDE], ids=['all', 'inside'])
def test_points_against_segments_equal_a_loop(inside):
    objective = PointSegmentConsistency(loss_weight=3)
    (batch, features), (twin, twin_features) = (segments_batch(inside=inside) for _ in range(2))
    results, (expected, count) = objective(batch), consistency_loop(twin)
    torch.testing.assert_close(results['loss'], 3 * expected)
    assert results['points'].item() == count > 20
    assert results['cosine'].item() == pytest.approx(1 - expected.item(), abs=1e-5)
    results['loss'].backward()
    (3 * expected).backward()
    torch.testing.assert_close(features.grad, twin_features.grad)
    by_scan = features.grad.abs().sum(1).split(SIZES)
    # the segments, of the other frame, have no gradient
    assert [bool(part.any()) for part in by_scan] == [True, False, True, False, False]


def test_both_directions_are_one_mean_over_points():
    batch, features = segments_batch()
    results = PointSegmentConsistency(frames=((0, 1), (1, 0)))(batch)
    expected, count = consistency_loop(batch, ((0, 1), (2, 3), (1, 0), (3, 2)))
    torch.testing.assert_close(results['loss'], expected)
    assert results['points'].item() == count
    results['loss'].backward()
    assert all(part.any() for part in features.grad.abs().sum(1).split(SIZES)[:4])


def test_equal_embeddings_have_no_distance():
    batch, _ = segments_batch()
    batch.student.features = torch.ones_like(batch.student.features)
    assert PointSegmentConsistency()(batch)['loss'].item() == pytest.approx(0, abs=1e-6)
    contrast = SuperpointContrast(groups=None, frames=((0, 1),), unit_means=True)(batch)
    assert contrast['loss'].item() == pytest.approx(math.log(contrast['superpoints'].item()), rel=1e-5)


def objectives():
    return [PointSegmentConsistency(), SuperpointContrast(groups=None, frames=((0, 1),), unit_means=True)]


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
@pytest.mark.parametrize('case', ['no segments', 'no common segment', 'no second frame'])
def test_without_segments_in_both_frames_the_loss_is_zero_with_a_graph(objective, case):
    scan = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    batch, _ = segments_batch(segments=torch.full_like(scan, -1) if case == 'no segments' else scan)
    if case == 'no second frame':
        batch.segments = torch.zeros_like(scan)
        batch.frames.frame = torch.zeros_like(batch.frames.frame)
    results = objective(batch)
    assert results['loss'].item() == 0 and all(value.isfinite() for value in results.values())
    assert isinstance(objective, SuperpointContrast) or results['loss'].requires_grad


@pytest.mark.parametrize('objective', objectives(), ids=lambda o: type(o).__name__)
def test_missing_segments_are_a_config_error(objective):
    batch, _ = segments_batch()
    batch.segments = None
    with pytest.raises(ConfigError, match=r'add maps=dict\(lidar_segments=FOLDER\).*make_lidar_segments\.py'):
        objective(batch)


@pytest.mark.parametrize('frames', [(), ((0, 0),), ((0, 1, 2),), ((-1, 0),)])
def test_frames_without_sense(frames):
    with pytest.raises(ConfigError, match='set pairs of two frames'):
        PointSegmentConsistency(frames=frames)
