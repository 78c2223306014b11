"""Pairs within a radius against scipy's tree and brute force."""

import sys

import numpy as np
import pytest
import torch
from peridot.models.functional import cells_in_radius, draw_neighbors, pairs_in_radius
from scipy.spatial import cKDTree

radius_module = sys.modules[pairs_in_radius.__module__]


def as_set(query, support):
    return set(zip(query.tolist(), support.tolist()))


def by_tree(query, query_scan, support, support_scan, radius):
    found = set()
    for scan in query_scan.unique().tolist():
        q, s = (query_scan == scan).nonzero()[:, 0], (support_scan == scan).nonzero()[:, 0]
        if len(s):
            near = cKDTree(support[s].numpy()).query_ball_point(query[q].numpy(), radius * (1 - 1e-12))
            found |= {(int(q[i]), int(s[j])) for i, own in enumerate(near) for j in own}
    return found


def cloud(size, scans, extent, seed):
    g = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(size, 3, generator=g) - 0.5) * torch.tensor([extent, extent, 0.2 * extent])
    return xyz, torch.randint(0, scans, (size,), generator=g)


@pytest.mark.parametrize('radius, extent', [(1.0, 20.0), (0.3, 8.0), (5.0, 12.0), (1.0, 60.0)])
def test_pairs_are_those_of_a_tree(radius, extent):
    support, support_scan = cloud(3000, 3, extent, 0)
    query, query_scan = cloud(400, 4, 1.3 * extent, 1)
    pairs = pairs_in_radius(query, query_scan, support, support_scan, radius)
    expected = by_tree(query, query_scan, support, support_scan, radius)
    assert as_set(*pairs) == expected
    assert len(pairs[0]) == len(expected)
    # pairs of a query come together
    assert (pairs[0][1:] != pairs[0][:-1]).sum() == len(pairs[0].unique()) - 1


def test_many_points_and_small_chunks(monkeypatch):
    monkeypatch.setitem(radius_module.CHUNK, 'cpu', 100)
    support, support_scan = cloud(50000, 1, 60.0, 2)
    query, query_scan = cloud(1000, 1, 60.0, 3)
    assert as_set(*pairs_in_radius(query, query_scan, support, support_scan, 1.0)) == by_tree(
        query, query_scan, support, support_scan, 1.0
    )


def test_a_support_on_the_sphere_is_outside():
    support = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 1], [0.99, 0, 0], [0, 0.6, 0.8], [0, 0, 0]])
    pairs = pairs_in_radius(torch.zeros(1, 3), torch.zeros(1).long(), support, torch.zeros(6).long(), 1.0)
    # 0.6 and 0.8 in single precision: 0.36 + 0.64 > 1
    exact = support.double().square().sum(1) < 1
    assert sorted(pairs[1].tolist()) == exact.nonzero()[:, 0].tolist()
    assert 0 not in pairs[1] and 3 in pairs[1] and 5 in pairs[1]


def test_single_precision_does_not_decide_on_the_sphere():
    g = torch.Generator().manual_seed(0)
    query = torch.rand(300, 3, generator=g) * 80
    direction = torch.nn.functional.normalize(torch.randn(300, 3, generator=g, dtype=torch.float64), dim=1)
    support = (query.double() + direction * (1 + 1e-8)).float()
    scan = torch.zeros(300).long()
    pairs = as_set(*pairs_in_radius(query, scan, support, scan, 1.0))
    distance = (query[:, None].double() - support[None].double()).square().sum(2)
    assert pairs == set(map(tuple, (distance < 1).nonzero().tolist()))


@pytest.mark.parametrize('queries, supports', [(0, 5), (5, 0), (0, 0), (3, 3)])
def test_nothing_near(queries, supports):
    query, support = torch.zeros(queries, 3), torch.full((supports, 3), 100.0)
    pairs = pairs_in_radius(query, torch.zeros(queries).long(), support, torch.zeros(supports).long(), 1.0)
    assert [len(rows) for rows in pairs] == [0, 0]
    assert all(rows.dtype == torch.int64 for rows in pairs)


def test_scans_at_the_same_place_do_not_mix():
    xyz = torch.zeros(4, 3)
    pairs = pairs_in_radius(xyz, torch.tensor([0, 0, 1, 2]), xyz, torch.tensor([0, 1, 1, 3]), 1.0)
    assert as_set(*pairs) == {(0, 0), (1, 0), (2, 1), (2, 2)}


@pytest.mark.parametrize('cell', [(0.4, 0.4), (0.8, 0.8), (0.5, 0.25), (3.0, 3.0)])
def test_cells_are_those_of_brute_force(cell):
    lower, shape, cell = torch.tensor([-3.0, -5.0]), (20, 14), torch.tensor(cell)
    g = torch.Generator().manual_seed(0)
    query = torch.rand(500, 3, generator=g) * torch.tensor([14.0, 18, 2]) - torch.tensor([6.0, 8, 1])
    # centers of cells and corners: several cells at exactly the radius
    query[:40, 0], query[:40, 1] = lower[0] + 0.5 * torch.arange(40), lower[1] + 0.5 * torch.arange(40)
    scan = torch.randint(0, 2, (500,), generator=g)
    row, found = cells_in_radius(query, scan, lower, cell, shape, 1.0)
    assert (row[1:] >= row[:-1]).all()
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(14) + 0.5, indexing='ij')
    centers = lower.double() + torch.stack([x, y], -1).view(-1, 2).double() * cell.double()
    near = (query[:, None, :2].double() - centers).square().sum(2) < 1
    expected = {(i, int(scan[i]) * 280 + j) for i, j in near.nonzero().tolist()}
    assert as_set(row, found) == expected
    assert len(row) == len(expected) > 0


def test_cells_of_second_have_about_twenty_supports():
    g = torch.Generator().manual_seed(0)
    query = torch.rand(2000, 2, generator=g) * 40 + torch.tensor([10.0, -20])
    cell = torch.tensor([0.4, 0.4])
    row, _ = cells_in_radius(query, torch.zeros(2000).long(), torch.tensor([0.0, -40]), cell, (200, 176), 1.0)
    count = torch.bincount(row)
    assert count.float().mean().item() == pytest.approx(19.6, abs=0.1)
    assert count.max() == 21


def test_neighbors_are_drawn_uniformly():
    # five queries with 0, 2, 3, 6 and 3 pairs, limit 3
    query = torch.tensor([1] * 2 + [2] * 3 + [3] * 6 + [4] * 3)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_neighbors(query, 5, 3, generator) for _ in range(4000)])
    assert drawn.shape[1] == 2 + 3 + 3 + 3
    assert (drawn[:, :5] == torch.arange(5)).all() and (drawn[:, 8:] == torch.arange(11, 14)).all()
    chosen = drawn[:, 5:8] - 5
    assert (chosen.sort(1).values[:, 1:] > chosen[:, :-1]).all()
    # each of the 20 sets equally often
    _, times = chosen.unique(dim=0, return_counts=True)
    assert len(times) == 20
    assert np.square(times.numpy() - 200).sum() / 200 < 45  # chi square with 19 degrees of freedom, p < 0.001


def test_all_neighbors_without_a_limit():
    query, generator = torch.tensor([0, 0, 1]), torch.Generator()
    assert draw_neighbors(query, 2, None, generator).tolist() == [0, 1, 2]
    assert draw_neighbors(query, 2, 2, generator).tolist() == [0, 1, 2]
    assert draw_neighbors(query[:0], 2, 1, generator).tolist() == []
