import math

import mmdet3d.models  # noqa: F401  (registers MinkUNetBackbone)
import numpy as np
import pytest
import torch
from peridot.errors import ConfigError, DataError
from peridot.models.students import SparseUNetStudent, voxelize

SIZES = {'cartesian': (0.2, 0.2, 0.3), 'cylindrical': (0.1, 1.0, 0.1)}


def cloud(n: int, seed: int) -> torch.Tensor:
    points = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) * torch.tensor([15.0, 15.0, 2.0, 40.0])
    return points


def naive_voxel(point, size, coordinates):
    x, y, z = (float(np.float32(v)) for v in point[:3])
    if coordinates == 'cylindrical':
        x, y = math.hypot(x, y), math.degrees(math.atan2(y, x))
    return tuple(math.floor(v / s) for v, s in zip((x, y, z), size))


@pytest.mark.parametrize('coordinates', ['cartesian', 'cylindrical'])
def test_voxelize_groups_points_as_a_loop_does(coordinates):
    points = [cloud(400, 0), cloud(300, 1)]
    voxels = voxelize(points, SIZES[coordinates], coordinates)
    flat = torch.cat(points)
    scan = [0] * 400 + [1] * 300
    expected = [(s, *naive_voxel(p, SIZES[coordinates], coordinates)) for s, p in zip(scan, flat.tolist())]
    found = voxels.coords[voxels.inverse].tolist()
    shift = np.array(found)[:, 1:] - np.array(expected)[:, 1:]
    # the same shift for all points, apart from float32 rounding at a voxel border
    typical = np.median(shift, axis=0)
    assert (shift == typical).all(1).mean() > 0.99
    assert (typical % 16 == 0).all()
    assert [f[0] for f in found] == scan
    assert (voxels.coords >= 0).all()
    for voxel in range(len(voxels.coords)):
        assert int(voxels.first[voxel]) == int((voxels.inverse == voxel).nonzero()[0])


@pytest.mark.parametrize('coordinates, size', [('cylindrical', (0.1, 1.0, 0.1)), ('cartesian', (0.1, 0.1, 0.1))])
def test_voxels_are_those_of_slidr(golden, coordinates, size):
    """Its voxels are in the order in which their first points come."""
    arrays = golden('slidr_voxelisation')
    points = torch.from_numpy(arrays['points'])
    voxels = voxelize([points], size, coordinates)
    theirs = {name: torch.from_numpy(arrays[f'{coordinates}::{name}']) for name in ('coordinates', 'index', 'inverse')}
    order = voxels.first.argsort()
    assert voxels.first[order].tolist() == theirs['index'].tolist()
    assert order.argsort()[voxels.inverse].tolist() == theirs['inverse'].tolist()
    shift = voxels.coords[order][:, 1:] - theirs['coordinates']
    assert (shift == shift[0]).all() and (shift[0] % 16 == 0).all()
    torch.testing.assert_close(points[voxels.first[order], 3:4], torch.from_numpy(arrays[f'{coordinates}::features']))


@pytest.mark.parametrize('coordinates, name', [('cylindrical', 'cylinder'), ('cartesian', 'cubic')])
def test_voxels_are_those_of_superflow(golden, coordinates, name):
    """Rounded, from the cloud's own minimum, in the order of coordinates; a second cloud changes nothing."""
    arrays = golden('superflow_voxels')
    points, size = torch.from_numpy(arrays['points']), tuple(arrays['voxel_size'])
    other = points + torch.tensor([-50.0, 3.0, 1.0, 0.0])
    voxels = voxelize([points, other], size, coordinates, rounding='nearest', origin='minimum')
    own = voxels.coords[:, 0] == 0
    theirs = {
        key: torch.from_numpy(arrays[f'{name}::{key}']) for key in ('coordinates', 'index', 'inverse', 'features')
    }
    assert voxels.coords[own, 1:].tolist() == theirs['coordinates'].tolist()
    assert voxels.first[own].tolist() == theirs['index'].tolist()
    assert voxels.inverse[: len(points)].tolist() == theirs['inverse'].tolist()
    torch.testing.assert_close(points[voxels.first[own]], theirs['features'])
    assert (voxels.coords[~own, 1:].amin(0) == 0).all()
    assert voxelize([points], size, coordinates).coords[:, 1:].tolist() != theirs['coordinates'].tolist()


def test_voxels_are_unique_and_sorted_by_scan():
    voxels = voxelize([cloud(500, 2), cloud(10, 3)], (0.5, 0.5, 0.5), 'cartesian')
    assert len(torch.unique(voxels.coords, dim=0)) == len(voxels.coords)
    assert (voxels.coords[:, 0].diff() >= 0).all()


def test_voxelize_rejects_bad_input():
    with pytest.raises(ConfigError, match='spherical'):
        voxelize([cloud(5, 0)], (1, 1, 1), 'spherical')
    with pytest.raises(ConfigError, match="rounding='up': choose one of"):
        voxelize([cloud(5, 0)], (1, 1, 1), 'cartesian', rounding='up')
    with pytest.raises(ConfigError, match="origin='zero': choose one of"):
        voxelize([cloud(5, 0)], (1, 1, 1), 'cartesian', origin='zero')
    with pytest.raises(DataError, match='without points'):
        voxelize([cloud(5, 0), cloud(0, 0)], (1, 1, 1), 'cartesian')
    with pytest.raises(DataError, match='outliers'):
        voxelize([torch.tensor([[0.0, 0, 0, 0], [1e12, 1e12, 1e12, 0]])], (0.1, 0.1, 0.1), 'cartesian')


def small_unet() -> SparseUNetStudent:
    torch.manual_seed(0)
    backbone = dict(
        type='MinkUNetBackbone',
        in_channels=1,
        base_channels=4,
        encoder_channels=[4, 4, 8, 8],
        encoder_blocks=[1, 1, 1, 1],
        decoder_channels=[8, 8, 8, 6],
        decoder_blocks=[1, 1, 1, 1],
        sparseconv_backend='spconv',
    )
    return SparseUNetStudent(backbone, (0.2, 0.2, 0.2), 'cartesian')


def test_unet_gives_every_point_the_feature_of_its_voxel():
    student = small_unet()
    points = [cloud(300, 0), cloud(200, 1)]
    features = student(points)
    assert student.out_channels == features.features.shape[1] == 6
    rows = torch.tensor([0, 299, 300, 499])
    assert torch.equal(features.at(rows), features.features[features.inverse[rows]])
    alone = student.eval()([points[1]]).at(torch.arange(200))
    together = student([points[0], points[1]]).at(torch.arange(300, 500))
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('n', [1, 3, 10])
def test_a_scan_with_a_handful_of_points_trains(n):
    student = small_unet().train()
    before = student.backbone.conv_input[0][1].running_mean.clone()
    features = student([torch.rand(n, 4) * 0.5]).at(torch.arange(n))
    features.sum().backward()
    assert features.isfinite().all() and student.backbone.training
    assert student.backbone.conv_input[0][0].weight.grad.abs().sum() > 0
    assert torch.equal(before, student.backbone.conv_input[0][1].running_mean)
    student([cloud(300, 0)])
    assert not torch.equal(before, student.backbone.conv_input[0][1].running_mean)


def test_a_single_point_leaves_frozen_children_frozen():
    student = small_unet().train()
    student.backbone.conv_input.eval()
    student([torch.rand(1, 4)])
    assert student.backbone.training and student.backbone.decoder[0].training
    assert not any(child.training for child in student.backbone.conv_input.modules())


def test_layers_give_every_point_the_feature_of_its_coarse_voxel():
    student = small_unet().eval()
    points = [cloud(300, 0), cloud(200, 1)]
    rows = torch.arange(500)
    stages = {f'encoder{i}': stage for i, stage in enumerate(student.backbone.encoder)}
    stages |= {f'decoder{i}': stage[-1] for i, stage in enumerate(student.backbone.decoder)}
    outputs = {}
    for name, stage in stages.items():
        stage.register_forward_hook(lambda module, inputs, output, name=name: outputs.update({name: output}))
    layers = student.layers(points)
    assert list(layers) == list(stages)
    assert torch.equal(layers['decoder3'].at(rows), student(points).at(rows))
    voxels = voxelize(points, student.voxel_size, student.coordinates)
    coords = voxels.coords[voxels.inverse].tolist()
    for name, stride in zip(stages, (2, 4, 8, 16, 8, 4, 2, 1)):
        feature = dict(zip(map(tuple, outputs[name].indices.tolist()), outputs[name].features))
        expected = torch.stack([feature[s, x // stride, y // stride, z // stride] for s, x, y, z in coords])
        assert torch.equal(layers[name].at(rows), expected)
        assert not layers[name].features.requires_grad


def test_stages_beside_the_features_have_gradients_and_change_nothing():
    student = small_unet().train()
    points, rows = [cloud(300, 0), cloud(200, 1)], torch.arange(500)
    assert not student(points).layers
    torch.manual_seed(0)
    alone = small_unet().train()(points)
    torch.manual_seed(0)
    student = small_unet().train()
    features = student(points, ['decoder2'])
    assert torch.equal(features.at(rows), alone.at(rows))
    assert list(features.layers) == ['decoder2']
    features.layers['decoder2'].at(rows).square().sum().backward()
    reached = {name for name, p in student.backbone.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith('decoder.2.') for name in reached)
    assert any(name.startswith('encoder.') for name in reached)
    assert not any(name.startswith('decoder.3.') for name in reached)


def test_widths_of_stages_are_those_of_their_features():
    student = small_unet().eval()
    found = {name: stage.features.shape[1] for name, stage in student.layers([cloud(300, 0)]).items()}
    assert student.layer_channels == found and len(set(found.values())) > 1
