import pytest
import torch
import torch.nn.functional as F
from peridot.errors import ConfigError
from peridot.models.heads import DistillationHead
from peridot.models.objectives import FeatureDistance
from peridot.models.objectives.feature_distance import feature_distance, point_weights
from peridot.registry import MODELS
from peridot.structures import Pairs
from tiny import make_batch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

STUDENT, TEACHER = 6, 10


def make_pairs_batch(num_pairs=40, num_points=60, image_size=(32, 48), hidden=None, point=None):
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    pairs = Pairs(
        point=torch.randperm(num_points, generator=g)[:num_pairs] if point is None else point,
        camera=torch.randint(0, 2, (num_pairs,), generator=g),
        # pixel centers
        position=(torch.rand(num_pairs, 2, generator=g) * torch.tensor(image_size)).floor(),
    )
    feature_map = torch.randn(2, TEACHER, 4, 6, generator=g).contiguous(memory_format=torch.channels_last)
    features = torch.randn(num_points, STUDENT, generator=g).requires_grad_()
    return make_batch(
        points=torch.randn(num_points, 4, generator=g),
        student=features,
        pairs=pairs,
        heads={'distill': DistillationHead(STUDENT, TEACHER, hidden)},
        make_teacher_map=lambda: feature_map,
        image_size=image_size,
        generator=g,
    )


def upsampled(batch):
    """Naive reading: the map at the size of the image, indexed at the pixels."""
    dense = F.interpolate(batch.teacher_map, batch.image_size, mode='bilinear', align_corners=True)
    row, column = batch.pairs.position.long().unbind(1)
    return dense[batch.pairs.camera, :, row, column]


def test_published_loss_and_gradient(golden):
    arrays = {name: torch.from_numpy(value) for name, value in golden('scalr_distance').items()}
    points = arrays['point_features'].requires_grad_()
    u, v = F.normalize(points, dim=1), F.normalize(arrays['image_features'], dim=1)
    loss = feature_distance(u, v).mean()
    loss.backward()
    torch.testing.assert_close(loss, arrays['loss'], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(points.grad, arrays['grad_points'], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('hidden', [None, 16])
@pytest.mark.parametrize('distance', ['l2', 'cosine', 'squared'])
def test_loss_is_the_distance_of_point_and_upsampled_pixel(distance, hidden):
    batch = make_pairs_batch(hidden=hidden)
    result = FeatureDistance(distance=distance, loss_weight=2.0)(batch)
    u, v = batch.heads['distill'].student(batch.student.at(batch.pairs.point)), upsampled(batch)
    cosine = F.cosine_similarity(u, v)
    expected = {'l2': (2 - 2 * cosine).sqrt(), 'cosine': 1 - cosine, 'squared': 2 - 2 * cosine}[distance]
    torch.testing.assert_close(result['loss'], 2 * expected.mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result['cosine'], cosine.mean().detach(), rtol=1e-5, atol=1e-6)
    assert result['pairs'] == 40 and not result['cosine'].requires_grad


def test_a_point_in_several_images_counts_once():
    point = torch.tensor([3, 5, 3, 3, 7])
    torch.testing.assert_close(point_weights(point, 50), torch.tensor([1 / 9, 1 / 3, 1 / 9, 1 / 9, 1 / 3]))
    batch = make_pairs_batch(num_pairs=5, point=point)
    each = feature_distance(*batch.embed('distill', torch.arange(5)))
    expected = (each[[0, 2, 3]].mean() + each[1] + each[4]) / 3
    torch.testing.assert_close(FeatureDistance()(batch)['loss'], expected)


@pytest.mark.parametrize('distance', ['l2', 'cosine', 'squared'])
def test_gradient_at_equal_vectors_is_finite(distance):
    u = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    moving = u.clone().requires_grad_()
    feature_distance(moving, u, distance).sum().backward()
    assert moving.grad.isfinite().all()
    if distance == 'l2':
        assert not moving.grad.any()


def test_without_pairs_the_loss_is_zero():
    batch = make_pairs_batch(num_pairs=0)
    result = FeatureDistance()(batch)
    assert result['loss'] == 0 and result['pairs'] == 0


def test_loss_is_float32_under_autocast():
    plain = FeatureDistance()(make_pairs_batch(hidden=16))['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = FeatureDistance()(make_pairs_batch(hidden=16))['loss']
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=5e-3, atol=5e-3)


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation gave."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return out


def largest(run) -> int:
    with Largest() as mode:
        run()
    return mode.size


def test_memory_does_not_grow_with_the_image():
    def step_of(size):
        return lambda: FeatureDistance()(make_pairs_batch(image_size=size))['loss'].backward()

    small, large = (largest(step_of(size)) for size in ((32, 48), (448, 896)))
    # the pairs' rows and the teacher's map itself
    assert small == large <= max(40 * TEACHER, 60 * STUDENT, 2 * TEACHER * 4 * 6)
    # the straightforward way builds the map at full size
    assert largest(lambda: upsampled(make_pairs_batch(image_size=(448, 896)))) >= 2 * TEACHER * 448 * 896


def test_training_moves_points_to_their_pixels():
    batch = make_pairs_batch(num_pairs=60, hidden=64)
    features = batch.student.at(torch.arange(60)).detach().clone().requires_grad_()
    batch.student.features = features
    optimizer = torch.optim.Adam([features, *batch.heads.parameters()], lr=0.03)
    losses = []
    for _ in range(80):
        loss = FeatureDistance()(batch)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert 1.2 < losses[0] < 1.6 and losses[-1] < 0.5


def test_head_in_the_pretrainer():
    @MODELS.register_module(force=True)
    class LinearStudent(nn.Linear):
        out_channels = STUDENT

        def __init__(self):
            super().__init__(4, STUDENT)

    settings = dict(type='peridot.Pretrainer', student=dict(type='peridot.LinearStudent'))
    teacher = dict(type='peridot.StoredTeacher', teacher=dict(type='peridot.TimmTeacher'), out_channels=TEACHER)
    objectives = dict(distance=dict(type='peridot.FeatureDistance'))
    heads = dict(distill=dict(type='peridot.DistillationHead', hidden_channels=16))
    model = MODELS.build(dict(settings, teacher=teacher, objectives=objectives, heads=heads))
    # as in the released checkpoints: classif.0 and classif.2
    names = [name for name, _ in model.heads.named_parameters()]
    assert names == [f'distill.student.{layer}.{kind}' for layer in (0, 2) for kind in ('weight', 'bias')]
    assert [name for name, _ in DistillationHead(6, 10).named_parameters()] == ['student.weight', 'student.bias']
    with pytest.raises(ConfigError, match=r'model\.heads'):
        MODELS.build(dict(settings, teacher=teacher, objectives=objectives))
    with pytest.raises(ConfigError, match=r'model\.teacher'):
        MODELS.build(dict(settings, objectives=objectives, heads=heads))


def test_unknown_distance():
    with pytest.raises(ConfigError, match='l2, cosine, squared'):
        FeatureDistance(distance='l1')
