"""HilDA's scene token against a loop over scans and channels."""

import pytest
import torch
from peridot.errors import ConfigError
from peridot.models.heads import CLASS_TOKEN, DistillationHead
from peridot.models.objectives import SceneToken
from peridot.models.objectives.scene_token import maxima
from peridot.models.students import VoxelFeatures
from peridot.structures import Frames
from synchronizations import counted
from tiny import make_batch

STUDENT, TEACHER = 6, 10
POINTS = (20, 5, 12)


def batch_of(images=(2, 0, 3), points=POINTS, inside=None):
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = DistillationHead(STUDENT, TEACHER, 8, normalize=False)
    head.teacher_layer = CLASS_TOKEN
    tokens = torch.randn(sum(images), TEACHER, generator=g)
    features = torch.randn(sum(points), STUDENT, generator=g).requires_grad_()
    student = VoxelFeatures(features, torch.arange(len(features)))
    student.inside = inside
    return make_batch(
        points=torch.randn(sum(points), 4, generator=g),
        student=student,
        heads={'scene': head},
        scan=torch.arange(len(points)).repeat_interleave(torch.tensor(points)),
        frames=Frames.batch([Frames.single(n, v) for n, v in zip(points, images)]),
        make_teacher_map=lambda: {None: None, CLASS_TOKEN: tokens},
        image_size=(8, 8) if tokens.numel() else None,
    )


def naive(batch, images=(2, 0, 3), points=POINTS):
    head, features = batch.heads['scene'], batch.student.features
    tokens, losses, row, image = batch.teacher_features[CLASS_TOKEN], [], 0, 0
    for n, v in zip(points, images):
        rows = [i for i in range(row, row + n) if batch.student.inside is None or batch.student.inside[i]]
        if rows and v:
            own = [head.student(features[i]) for i in rows]
            squares = [
                (max(h[c] for h in own) - max(tokens[k, c] for k in range(image, image + v))) ** 2
                for c in range(TEACHER)
            ]
            losses.append(sum(squares) / TEACHER)
        row, image = row + n, image + v
    return sum(losses) / len(losses)


@pytest.mark.parametrize('some', [False, True], ids=['all points', 'points in the range'])
def test_loss_and_gradients_are_those_of_a_loop(some):
    inside = (torch.rand(sum(POINTS), generator=torch.Generator().manual_seed(1)) < 0.4) if some else None
    batch = batch_of(inside=inside)
    results, expected = SceneToken(loss_weight=3.0)(batch), naive(batch)
    torch.testing.assert_close(results['loss'], 3 * expected)
    assert results['scans'] == 2 and not results['scans'].requires_grad
    leaves = [batch.student.features, *batch.heads.parameters()]
    ours, theirs = (torch.autograd.grad(loss, leaves) for loss in (results['loss'] / 3, expected))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
    # the scan without images learns nothing
    assert not ours[0][POINTS[0] : POINTS[0] + POINTS[1]].any()


@pytest.mark.parametrize('images', [(0, 0, 0), (0, 3, 0)])
def test_without_images_or_points_the_loss_is_zero_with_all_gradients(images):
    inside = torch.ones(sum(POINTS), dtype=torch.bool)
    inside[POINTS[0] : POINTS[0] + POINTS[1]] = False
    batch = batch_of(images=images, inside=inside)
    results = SceneToken()(batch)
    assert results['loss'] == 0 and results['scans'] == 0
    results['loss'].backward()
    leaves = [batch.student.features, *batch.heads.parameters()]
    assert all(p.grad is not None and not p.grad.any() for p in leaves)


def test_no_step_waits_for_it():
    batch = batch_of()
    with counted() as found:
        SceneToken()(batch)
    assert not found


def test_maxima_of_equal_rows_divide_the_gradient():
    values = torch.tensor([[1.0, 2], [1, 0], [5, 5]], requires_grad=True)
    found = maxima(values, torch.tensor([0, 0, 2]), 3)
    assert found.tolist() == [[1, 2], [-torch.inf] * 2, [5, 5]]
    found[[0, 2]].sum().backward()
    assert values.grad.tolist() == [[0.5, 1], [0.5, 0], [1, 1]]


def test_a_head_of_maps_is_a_config_error():
    batch = batch_of()
    batch.heads['scene'].teacher_layer = None
    with pytest.raises(
        ConfigError, match=r"set teacher_layer='class_token' of model\.heads\.scene, and model\.teacher"
    ):
        SceneToken()(batch)
