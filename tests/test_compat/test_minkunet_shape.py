import pytest
import torch
from mmdet3d.models import MinkUNetBackbone
from mmdet3d.models.backbones import minkunet_backbone
from peridot.compat import minkunet_shape
from torch.nn import functional as F


def backbone(stages=4):
    torch.manual_seed(0)
    channels = [8] * stages
    ones = [1] * stages
    return MinkUNetBackbone(4, 8, stages, channels, ones, channels, ones, sparseconv_backend='spconv').double()


def scan(size, occupied=0.2, batch_size=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand(batch_size, *size, generator=generator) < occupied
    grid[:, size[0] - 1, size[1] - 1, size[2] - 1] = True
    return grid.nonzero().int().contiguous()


def level_counts(network, coordinates):
    """Numbers of voxels after each strided convolution, and the features."""
    counts = []
    hooks = [
        layer[0].register_forward_hook(lambda module, args, out: counts.append(len(out.features)))
        for layer in network.encoder
    ]
    out = network(torch.randn(len(coordinates), 4, dtype=torch.float64), coordinates)
    for hook in hooks:
        hook.remove()
    return counts, out


def expected_counts(coordinates, stages):
    counts = []
    for level in range(1, stages + 1):
        coarse = coordinates.clone()
        coarse[:, 1:] //= 2**level
        counts.append(len(torch.unique(coarse, dim=0)))
    return counts


def test_upstream_loses_voxels(upstream):
    assert upstream['second_level'] == 16, 'the last of 17 coarse voxels is kept now: delete minkunet_shape.py'
    assert upstream['one_voxel']


@pytest.mark.parametrize('size', [(33, 33, 33), (17, 24, 5), (47, 31, 1), (16, 32, 16)])
@pytest.mark.parametrize('stages', [2, 4])
def test_no_voxel_is_lost_at_any_level(size, stages):
    coordinates = scan(size, occupied=0.05, batch_size=2)
    network = backbone(stages)
    counts, out = level_counts(network, coordinates)
    assert counts == expected_counts(coordinates, stages)
    assert out.shape == (len(coordinates), 8)
    assert out.isfinite().all()


@pytest.mark.parametrize('size', [(33, 17, 5), (7, 7, 7)])
def test_equals_a_far_larger_shape(monkeypatch, size):
    coordinates = scan(size)
    network = backbone().eval()
    features = torch.randn(len(coordinates), 4, dtype=torch.float64, requires_grad=True)
    out = network(features, coordinates)
    monkeypatch.setattr(minkunet_shape, 'padded_shape', lambda shape, stride: [256, 256, 256])
    reference = network(features, coordinates)
    torch.testing.assert_close(out, reference)
    direction = torch.randn_like(out)
    gradients = [torch.autograd.grad((o * direction).sum(), features)[0] for o in (out, reference)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('count, training', [(1, False), (5, False), (45, True)])
def test_tiny_scans_forward_and_backward(count, training):
    coordinates = F.pad(torch.arange(count, dtype=torch.int32)[:, None].expand(-1, 3), (1, 0)).contiguous()
    network = backbone().train(training)
    features = torch.randn(count, 4, dtype=torch.float64, requires_grad=True)
    out = network(features, coordinates)
    (out * torch.randn_like(out)).sum().backward()
    assert out.shape == (count, 8)
    for tensor in (out, features.grad, *(p.grad for p in network.parameters())):
        assert tensor.isfinite().all()
    assert (features.grad.abs().sum(1) > 0).all()


def test_repair_is_made_once():
    repaired = MinkUNetBackbone.forward
    minkunet_shape.repair(minkunet_backbone)
    assert MinkUNetBackbone.forward is repaired
