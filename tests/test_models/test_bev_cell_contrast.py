"""BEVContrast: cells as keys and means against dense maps, the released numbers, places that move with the poses."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D
from mmdet3d.structures import LiDARPoints
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.datasets.transforms import PackPaired, ShiftPoints
from peridot.errors import ConfigError
from peridot.models.functional import CellGrid, cell_keys, mean_of_cells, near_cells, read_cells
from peridot.models.objectives import BEVCellContrast
from peridot.models.objectives import bev_cell_contrast as module
from peridot.models.students import BEVFeatures, DetectorTrunk, TokenFeatures, VoxelFeatures
from peridot.structures import Frames
from peridot.walk import dicts_of
from tiny import SECOND, make_batch
from torch import nn

CONFIGS = sorted((Path(__file__).resolve().parents[2] / 'configs').glob('*/bevcontrast*.py'))
GRID = CellGrid((-3.0, -2.0), (0.5, 0.8), (5, 12))


class Embeddings(nn.Module):
    """The features are the embeddings."""

    channels = 12

    def embed_student(self, features):
        return features


@pytest.fixture
def in_order(monkeypatch):
    """All cells, in the order of their keys."""
    monkeypatch.setattr(module, 'sample_uniformly', lambda size, number, generator, device: torch.arange(size))


def places(count, seed=0, scans=2):
    """Places around the grid, also beyond it, and their scans."""
    g = torch.Generator().manual_seed(seed)
    xy = torch.rand(count, 2, generator=g, dtype=torch.float64) * torch.tensor([8.0, 6.0]) - torch.tensor([4.0, 3.0])
    return xy, torch.randint(scans, (count,), generator=g)


def dense_map(keys, values, grid, scans=2):
    """(scans, D, rows, columns), zero where there is no cell."""
    rows, columns = grid.shape
    kept = keys >= 0
    flat = values.new_zeros(scans * rows * columns, values.shape[1]).index_put((keys[kept],), values[kept])
    return flat.view(scans, rows, columns, -1).permute(0, 3, 1, 2)


def read_dense(dense, xy, scan, grid):
    """`grid_sample` of a dense map."""
    size = torch.tensor(grid.shape[::-1]) * torch.tensor(grid.cell, dtype=torch.float64)
    where = ((xy - torch.tensor(grid.lower, dtype=torch.float64)) / size * 2 - 1).to(dense.dtype)
    read = [F.grid_sample(dense[s][None], p.view(1, 1, 1, 2), align_corners=False) for s, p in zip(scan, where)]
    return torch.cat(read)[:, :, 0, 0]


def test_keys_are_those_of_a_loop():
    xy, scan = places(200)
    expected = []
    for (x, y), s in zip(xy.tolist(), scan.tolist()):
        column, row = int((x + 3) // 0.5), int((y + 2) // 0.8)
        inside = 0 <= column < 12 and 0 <= row < 5
        expected.append((s * 5 + row) * 12 + column if inside else -1)
    keys = cell_keys(xy, scan, GRID)
    assert keys.tolist() == expected and -1 in expected and len(set(expected)) > 60
    inside = keys >= 0
    assert GRID.scan(keys)[inside].equal(scan[inside]) and (GRID.scan(keys)[~inside] == -1).all()
    offset = (GRID.centers(keys) - xy)[inside].abs()
    assert (offset <= torch.tensor([0.25, 0.4]) + 1e-9).all()
    # centers are in their cells
    assert cell_keys(GRID.centers(keys[inside]), scan[inside], GRID).equal(keys[inside])


def test_means_are_those_of_a_loop():
    xy, scan = places(200)
    rows, keys = torch.randn(200, 4), cell_keys(xy, scan, GRID)
    wanted = torch.arange(-1, 121, 3)
    means = mean_of_cells(rows.half(), keys, wanted)
    assert means.dtype == torch.float32 and (keys[:, None] == wanted).any(0).float().mean() > 0.5
    for key, mean in zip(wanted, means):
        own = rows.half()[(keys == key) & (keys >= 0)].float()
        torch.testing.assert_close(mean, own.mean(0) if len(own) else torch.zeros(4))


@pytest.mark.parametrize('count', [3, 60, 400])
def test_reading_equals_dense_maps_with_gradients(count):
    xy, scan = places(count)
    all_keys = cell_keys(xy, scan, GRID)
    keys = all_keys.unique()
    means = mean_of_cells(torch.randn(count, 4), all_keys, keys)
    where, wanted = places(150, seed=1)
    gradients = []
    weights = torch.randn(150, 4)
    for read in (
        lambda values: read_cells(keys, values, where, wanted, GRID),
        lambda values: read_dense(dense_map(keys, values, GRID), where, wanted, GRID),
    ):
        values = means.clone().requires_grad_()
        found = read(values)
        (found * weights).sum().backward()
        gradients.append((found.detach(), values.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)
    ones = torch.ones(len(keys), 1)
    met = read_dense(dense_map(keys, ones, GRID), where, wanted, GRID)[:, 0] > 0
    assert near_cells(keys, where, wanted, GRID).equal(met) and met.any() and not met.all()


def test_reading_equals_a_loop_over_the_corners():
    xy, scan = places(80)
    all_keys = cell_keys(xy, scan, GRID)
    keys = all_keys.unique()
    means = mean_of_cells(torch.randn(80, 3), all_keys, keys)
    values = dict(zip(keys.tolist(), means))
    where, wanted = places(100, seed=2)
    for (x, y), s, found in zip(where.tolist(), wanted.tolist(), read_cells(keys, means, where, wanted, GRID)):
        expected = torch.zeros(3)
        for row, column in itertools.product(range(5), range(12)):
            weight = max(0, 1 - abs((x + 3) / 0.5 - column - 0.5)) * max(0, 1 - abs((y + 2) / 0.8 - row - 0.5))
            expected += weight * values.get((s * 5 + row) * 12 + column, torch.zeros(3))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_nothing_is_read_without_cells_or_scan():
    xy, scan = places(5)
    none = torch.zeros(0, dtype=torch.int64)
    assert read_cells(none, torch.zeros(0, 3), xy, scan, GRID).equal(torch.zeros(5, 3))
    assert not near_cells(none, xy, scan, GRID).any()
    keys = torch.arange(120)
    assert read_cells(keys, torch.ones(120, 3), xy * 0, torch.full_like(scan, -1), GRID).equal(torch.zeros(5, 3))
    assert read_cells(keys, torch.ones(120, 3), xy[:0], scan[:0], GRID).shape == (0, 3)


# the released numbers


def released(golden, name):
    return {key: torch.from_numpy(value) for key, value in golden(f'bevcontrast_{name}').items()}


def released_frames(g):
    """Frames of the two samples, each with an earlier and a later scan."""
    samples = []
    for sample in range(2):
        scans = []
        for frame, name in enumerate(('in', 'out')):
            pose = torch.eye(4, dtype=torch.float64)
            pose[:3, :3], pose[:3, 3] = g[f'R_{name}'][sample], g[f'T_{name}'][sample]
            scans.append(Frames.single(1, frame=frame, to_sample=pose))
        samples.append(Frames.cat(scans))
    return Frames.batch(samples)


def voxel_batch(g):
    """Voxels of both scans, each with a point in its middle, and their features as leaves."""
    xyz, scan, features = [], [], []
    for frame, name in enumerate(('in', 'out')):
        index = g[f'coordinates_{name}'][:, :3] + g[f'pc_min_{name}']
        xyz.append((index + 0.5) * float(g['voxel_size']))
        scan.append(2 * g[f'coordinates_{name}'][:, 3].long() + frame)
        features.append(g[f'voxels_{name}'].requires_grad_())
    batch = make_batch(
        torch.cat(xyz), torch.cat(features), {'bev': Embeddings()}, scan=torch.cat(scan), frames=released_frames(g)
    )
    return batch, features


def voxel_objective(g, geometry):
    cell = float(g['voxel_size']) * int(g['stride'])
    return BEVCellContrast(
        cell=cell, reach=float(g['range'][3]), temperature=float(g['temperature']), geometry=geometry
    )


@pytest.mark.parametrize('name, geometry', [('exact', 'exact'), ('exact', 'published'), ('published', 'published')])
def test_voxels_give_the_released_loss_and_gradients(name, geometry, golden, in_order):
    g = released(golden, f'voxels_{name}')
    batch, features = voxel_batch(g)
    objective = voxel_objective(g, geometry)
    assert list(objective.grid.shape) == g['map_size'].tolist()
    k, q = objective.embeddings(batch, objective.sources(batch.frames))
    torch.testing.assert_close(k, g['anchors'], rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(q, g['candidates'], rtol=2e-5, atol=2e-5)
    results = objective(batch)
    assert results['cells'] == len(g['cells']) and results['unpaired'] == 0
    torch.testing.assert_close(results['loss'], g['loss'], rtol=1e-5, atol=1e-5)
    results['loss'].backward()
    for leaf, own in zip(features, ('in', 'out')):
        torch.testing.assert_close(leaf.grad, g[f'grad_{own}'], rtol=1e-4, atol=2e-5)


def test_means_of_voxels_are_the_released_ones(golden):
    g = released(golden, 'voxels_published')
    cells = voxel_objective(g, 'exact')._cells(voxel_batch(g)[0])
    for frame, name in enumerate(('in', 'out')):
        own = (cells.keys >= 0) & (cells.grid.scan(cells.keys) % 2 == frame)
        scan, row, column = g[f'occupied_{name}'].T
        rows, columns = cells.grid.shape
        assert cells.keys[own].equal(((2 * scan + frame) * rows + row) * columns + column)
        means = mean_of_cells(cells.values, cells.cells, cells.keys[own])
        torch.testing.assert_close(means, g[f'means_{name}'], rtol=1e-5, atol=1e-5)


def test_the_released_misfit_adds_cells(golden):
    """Borders of released cells lie half a voxel below the stated ones; at the true corner fewer cells match."""
    g = released(golden, 'voxels_published')
    batch = voxel_batch(g)[0]
    objective = voxel_objective(g, 'exact')
    low = -51.2 - float(g['voxel_size']) / 2
    objective.lookup_grid = objective.grid._replace(lower=(low, low))
    assert objective(batch)['cells'] == 216 and voxel_objective(g, 'published')(batch)['cells'] == 231


def test_detector_maps_give_the_released_loss_and_gradients(golden, in_order):
    g = released(golden, 'maps')
    maps = [g[f'bev_{name}'].requires_grad_() for name in ('in', 'out')]
    occupied = torch.stack([g['occupied_in'], g['occupied_out']], 1).flatten(0, 1)
    low, cell = g['range'][:2].float(), (g['range'][3:5] - g['range'][:2]).float() / 24
    nothing = torch.zeros(0, dtype=torch.int64)
    bev = torch.stack(maps, 1).flatten(0, 1)
    student = BEVFeatures(bev, nothing, torch.zeros(0, 2), low, cell, nothing.bool(), occupied[:, None].float())
    batch = make_batch(torch.zeros(0, 4), student, {'bev': Embeddings()}, scan=nothing, frames=released_frames(g))
    objective = BEVCellContrast(temperature=float(g['temperature']))
    k, q = objective.embeddings(batch, objective.sources(batch.frames))
    torch.testing.assert_close(k, g['anchors'], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(q, g['candidates'], rtol=1e-5, atol=1e-5)
    loss = objective(batch)['loss']
    torch.testing.assert_close(loss, g['loss'], rtol=1e-5, atol=1e-5)
    loss.backward()
    for leaf, name in zip(maps, ('in', 'out')):
        torch.testing.assert_close(leaf.grad, g[f'grad_{name}'], rtol=1e-4, atol=1e-5)


# places

TRANSFORMS = [
    ShiftPoints(std=4.0, limit=5.0),
    GlobalRotScaleTrans(rot_range=[0.0, 6.28], scale_ratio_range=[0.9, 1.1]),
    RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.5),
]


def pose(x, y, yaw, pitch=0.0):
    """Lidar to world."""
    matrix = np.eye(4)
    (c, s), (cp, sp) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch))
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    matrix[:2, 3] = x, y
    return matrix


def scan_of(world, lidar2world, frame, transforms):
    """A cloud (N, 4) of world points as a pipeline packs it, and its frame."""
    local = (np.c_[world, np.ones(len(world))] @ np.linalg.inv(lidar2world).T)[:, :3]
    cloud = torch.from_numpy(np.c_[local, np.zeros(len(world))]).float()
    results = dict(points=LiDARPoints(cloud, points_dim=4), frame=frame, time=0.0, to_sample=lidar2world)
    for transform in transforms:
        results = transform(results)
    inputs = PackPaired()(results)['inputs']
    return inputs['points'], inputs['frames']


def world_batch(transforms=(), size=9.0, second=(0.7, -0.4, 0.3)):
    """Two scans of a flat world; the feature of a point is its place there, in homogeneous coordinates."""
    axis = torch.arange(-size, size, 0.1, dtype=torch.float64) + 0.03
    world = torch.cartesian_prod(axis, axis, torch.tensor([-1.0], dtype=torch.float64)).numpy()
    scans = [scan_of(world, pose(*place), frame, transforms) for frame, place in enumerate(((0, 0, 0.1), second))]
    features = torch.from_numpy(np.c_[world[:, :2], np.ones(len(world))]).float().repeat(2, 1)
    return make_batch(
        torch.cat([points for points, _ in scans]),
        features,
        {'bev': Embeddings()},
        scan=torch.arange(2).repeat_interleave(len(world)),
        frames=Frames.batch([Frames.cat([frames for _, frames in scans])]),
    )


def world_places(batch, **settings):
    """Places in the world of the cells, as they are read in the first scan, and as they are in the second."""
    objective = BEVCellContrast(num_cells=10**6, **settings)
    read = objective.embeddings(batch, objective.sources(batch.frames))
    return [vectors[:, :2] / vectors[:, 2:] for vectors in read]


@pytest.mark.parametrize('order', itertools.permutations(range(3)))
def test_cells_find_their_places_after_augmentation_in_any_order(order):
    np.random.seed(sum(3**i * place for i, place in enumerate(order)))
    k, q = world_places(world_batch([TRANSFORMS[i] for i in order]), cell=0.5, reach=20.0)
    inner = q.norm(dim=1) < 7
    assert inner.sum() > 400
    distance = (k - q)[inner].norm(dim=1)
    assert distance.max() < 0.25 and distance.median() < 0.05


def test_a_pose_that_is_not_followed_misplaces_cells():
    batch = world_batch()
    batch.frames.to_sample[1] = batch.frames.to_sample[0]
    k, q = world_places(batch, cell=0.5, reach=20.0)
    assert (k - q)[q.norm(dim=1) < 5].norm(dim=1).median() > 0.5


def test_a_range_that_the_cell_does_not_divide(in_order):
    """7.7 m in cells of 0.6 m: 25 of them, 0.4 m are left out at the upper ends."""
    batch = world_batch(second=(0.7, -0.4, 2.5))
    worst = {}
    for geometry in ('exact', 'published'):
        k, q = world_places(batch, cell=0.6, reach=7.7, geometry=geometry)
        worst[geometry] = (k - q)[q.norm(dim=1) < 6].norm(dim=1).max()
    assert worst['exact'] < 0.1 and 0.3 < worst['published'] < 1.0
    # where the range is a multiple of the cell, both are the same
    both = [world_places(batch, cell=0.7, reach=7.7, geometry=geometry) for geometry in ('exact', 'published')]
    torch.testing.assert_close(*both, rtol=0, atol=1e-4)


def test_a_tilt_of_the_lidar_moves_cells_by_its_cosine():
    batch = world_batch()
    tilted = torch.from_numpy(pose(0.7, -0.4, 0.3, pitch=0.02))
    flat = batch.frames.to_sample[1].clone()
    xy = torch.tensor([[5.0, 5.0]], dtype=torch.float64)
    source, scan = torch.tensor([-1, 0]), torch.tensor([1])
    found = []
    for matrix in (flat, tilted):
        batch.frames.to_sample[1] = matrix
        found.append(module.in_source(xy, scan, source, batch.frames))
    assert 0 < (found[0] - found[1]).norm() < 5e-3


# frames


def two_scans(count=60, frame=1, seed=0, shift=0.0):
    """A sample of two scans; the second is the first one, moved."""
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 4, generator=g) * 10 - 5
    move = torch.eye(4, dtype=torch.float64)
    move[0, 3] = -shift
    later = points + torch.tensor([shift, 0, 0, 0])
    frames = Frames.cat([Frames.single(count), Frames.single(count, frame=frame, to_sample=move)])
    return torch.cat([points, later]), torch.arange(2).repeat_interleave(count), frames


def joined(*samples):
    """A batch of samples (points, scan, frames) with random features."""
    scans = np.cumsum([0, *(len(frames.frame) for _, _, frames in samples)])
    points = torch.cat([points for points, _, _ in samples])
    features = torch.randn(len(points), 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    return make_batch(
        points,
        features,
        {'bev': Embeddings()},
        scan=torch.cat([scan + int(first) for (_, scan, _), first in zip(samples, scans)]),
        frames=Frames.batch([frames for _, _, frames in samples]),
    )


def contrast(batch, **settings):
    return BEVCellContrast(**dict(cell=1.0, reach=6.0) | settings)(batch)


def test_samples_without_partner_have_no_part_and_are_counted():
    whole = two_scans()
    alone = (torch.rand(40, 4) * 10 - 5, torch.zeros(40, dtype=torch.int64), Frames.single(40))
    other_offset = two_scans(frame=2, seed=3)
    first = contrast(joined(whole))
    assert first['cells'] > 30 and first['unpaired'] == 0 and first['loss'] > 0
    # the whole sample comes first, so its features are the same
    both = contrast(joined(whole, alone, other_offset))
    torch.testing.assert_close(both['loss'], first['loss'])
    assert both['cells'] == first['cells'] and both['unpaired'] == 2
    assert contrast(joined(other_offset), frames=(0, 2))['cells'] > 30


def test_order_of_frames_says_which_one_is_moved():
    forward, back = (contrast(joined(two_scans(shift=0.3)), frames=frames) for frames in ((0, 1), (1, 0)))
    assert forward['cells'] > 30 and back['cells'] > 30 and forward['loss'] != back['loss']


def test_nothing_in_common_is_a_loss_of_zero():
    points, scan, frames = two_scans()
    frames.to_sample[1, 0, 3] = 100
    results = contrast(joined((points, scan, frames)))
    assert results['loss'] == 0 and results['cells'] == 0 and results['unpaired'] == 0
    beyond = (points + 100, scan, two_scans()[2])
    assert contrast(joined(beyond))['loss'] == 0


def test_no_frames_at_all_are_a_warning_once(monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, logger, level: lines.append((text, level)))
    batch = joined((torch.rand(40, 4), torch.zeros(40, dtype=torch.int64), Frames.single(40)))
    objective = BEVCellContrast()
    for _ in range(2):
        results = objective(batch)
    assert results['loss'] == 0 and results['unpaired'] == 1
    assert len(lines) == 1 and 'frames=dict(keyframes=(2,)' in lines[0][0] and lines[0][1] == logging.WARNING


def test_cells_are_drawn_from_the_generator_of_the_step():
    losses = []
    for seed in (0, 0, 1):
        batch = joined(two_scans())
        batch.generator.manual_seed(seed)
        results = contrast(batch, num_cells=9)
        assert results['cells'] == 9
        losses.append(results['loss'].item())
    assert losses[0] == losses[1] != losses[2]


def test_both_sides_have_gradients():
    batch = joined(two_scans())
    contrast(batch)['loss'].backward()
    assert all(part.any() for part in batch.student.features.grad.split(60))


@pytest.mark.parametrize('settings', [dict(geometry='right'), dict(cell=3.0, reach=1.0)])
def test_settings_without_sense(settings):
    with pytest.raises(ConfigError, match='BEVCellContrast'):
        BEVCellContrast(**settings)


# students


@pytest.mark.parametrize('kind', [VoxelFeatures, TokenFeatures])
def test_units_are_the_first_points_of_voxels_and_tokens(kind):
    unit = torch.tensor([2, 0, 0, 3, 2, 1, 1])
    features = torch.randn(4, 3)
    if kind is VoxelFeatures:
        assert VoxelFeatures(features, unit).units().tolist() == [1, 5, 0, 3]
    else:
        outside = torch.tensor([2, -1, 0, 3, 2, -1, 1])
        assert TokenFeatures(features, outside, outside >= 0).units().tolist() == [2, 6, 0, 3]


def test_a_voxel_counts_once_however_many_points_it_has():
    points, scan, frames = two_scans()
    inverse = torch.arange(120)
    batch = joined((points, scan, frames))
    expected = contrast(batch)['loss']
    # every point five times
    again = torch.arange(120).repeat_interleave(torch.arange(120) % 5 + 1)
    crowded = joined((points, scan, frames))
    crowded.points, crowded.scan = points[again], scan[again]
    crowded.student = VoxelFeatures(crowded.student.features, inverse[again])
    torch.testing.assert_close(contrast(crowded)['loss'], expected)


def test_occupied_cells_of_a_map_that_is_coarser_than_the_encoder():
    encoded = torch.zeros(2, 3, 8, 8)
    encoded[0, 1, 2, 7] = -1
    encoded[1, 0, 5, 0] = 2
    nothing = torch.zeros(0, dtype=torch.int64)
    rest = (nothing, torch.zeros(0, 2), torch.zeros(2), torch.ones(2), nothing.bool(), encoded)
    occupied = BEVFeatures(torch.ones(2, 3, 4, 4), *rest).occupied
    assert occupied.nonzero().tolist() == [[0, 1, 3], [1, 2, 0]]
    assert BEVFeatures(torch.ones(2, 3, 8, 8), *rest).occupied.nonzero().tolist() == [[0, 2, 7], [1, 5, 0]]


def test_a_trunk_finds_its_own_cells_again(tmp_path):
    """Twice the same scan, in place: every cell is its own best match, and the whole trunk learns."""
    settings = 'point_cloud_range=[0, -3.2, -3, 6.4, 3.2, 1]'
    (tmp_path / 'small.py').write_text(
        f'_base_ = {SECOND!r}\nmodel = dict(data_preprocessor=dict(voxel_layer=dict({settings})), '
        'middle_encoder=dict(sparse_shape=[41, 128, 128]))\n'
    )
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    trunk = DetectorTrunk(str(tmp_path / 'small.py'))
    g = torch.Generator().manual_seed(0)
    cloud = torch.rand(400, 4, generator=g) * torch.tensor([6.4, 6.4, 4, 1]) - torch.tensor([0.0, 3.2, 3, 0])
    cloud[:, :2] = cloud[:, :2] * 0.5 + torch.tensor([1.6, 0.0])
    student = trunk([cloud, cloud])
    frames = Frames.batch([Frames.cat([Frames.single(400), Frames.single(400, frame=1)])])
    scan = torch.arange(2).repeat_interleave(400)
    batch = make_batch(torch.cat([cloud, cloud]), student, {'bev': Embeddings()}, scan=scan, frames=frames)
    results = BEVCellContrast()(batch)
    assert results['accuracy'] == 1 and 30 < results['cells'] == student.occupied[1].sum() < 200
    # the 2D layers fill what the encoder leaves empty
    assert (student.bev != 0).any(1).sum() > 1.5 * student.occupied.sum()
    results['loss'].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trunk.parameters())
    assert trunk.middle_encoder.conv_input[0].weight.grad.any()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_pair_scans_and_read_no_images(path):
    config = Config.fromfile(path)
    (dataset,) = (part for part in dicts_of(config.train_dataloader) if 'ann_file' in part)
    assert dataset.cameras == [] and not dataset.frames.cameras and len(dataset.frames.keyframes) == 1
    assert [step.type.split('.')[1] for step in dataset.pipeline] == [
        'LoadPoints',
        'ShiftPoints',
        'GlobalRotScaleTrans',
        'PackPaired',
    ]
    assert config.model.objectives.bev.frames == (0, 1) and config.picture_dataset.cameras == []
