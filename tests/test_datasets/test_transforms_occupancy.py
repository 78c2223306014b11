"""ALSO's queries: what the specification says about their number, place and kind, under every augmentation."""

import copy

import numpy as np
import pytest
import torch
from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D
from mmdet3d.structures import LiDARPoints
from peridot.datasets.transforms import PackPaired, SampleOccupancyQueries, SamplePoints, ShiftPoints
from peridot.datasets.transforms.occupancy import occupancy_queries
from peridot.datasets.transforms.sampling import first_of_voxels
from peridot.errors import ConfigError, DataError
from peridot.structures import Pairs, Queries


def cloud(size=5000, columns=4, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    xyz = torch.randn(size, 3, generator=g) * torch.tensor([20.0, 20, 2])
    # the intensity tells which return it is
    return torch.cat([xyz, torch.arange(size)[:, None] / size, torch.zeros(size, columns - 4)], 1)[:, :columns]


def results_of(points, **more) -> dict:
    return dict(points=LiDARPoints(points.clone(), points_dim=points.shape[1]), lidar_path='scan.bin', **more)


def draw(num_queries=2048, seed=0, origin=(0.0, 0, 0), points=None):
    points = cloud() if points is None else points
    torch.manual_seed(seed)
    return points, occupancy_queries(points[:, :3], points[:, 3], torch.tensor(origin), num_queries, 0.1)


@pytest.mark.parametrize('num_queries, counts', [(2048, (684, 682, 682)), (4096, (1366, 1365, 1365))])
def test_thirds_behind_in_front_and_on_the_ray(num_queries, counts):
    _, queries = draw(num_queries)
    behind, front, ray = counts
    assert queries.occupied.tolist() == [True] * behind + [False] * (front + ray)
    assert queries.has_intensity.tolist() == [True] * (behind + front) + [False] * ray
    assert queries.position.shape == (num_queries, 3) and queries.position.dtype == torch.float32


@pytest.mark.parametrize('origin', [(0.0, 0, 0), (3.0, -2, 1)])
def test_occupancy_changes_at_the_return(origin):
    """Along the ray of its own return, an occupied query lies just behind it, an empty one before it."""
    points, queries = draw(origin=origin)
    origin = torch.tensor(origin)
    near = queries.has_intensity
    own = (queries.intensity[near] * len(points)).round().long()
    ray, moved = points[own, :3] - origin, queries.position[near] - origin
    along = (moved * ray).sum(1) / ray.norm(dim=1) - ray.norm(dim=1)
    assert torch.cross(moved, ray, dim=1).norm(dim=1).max() / ray.norm(dim=1).max() < 1e-4
    occupied = queries.occupied[near]
    assert (along[occupied] > -1e-5).all() and (along[occupied] < 0.1 + 1e-5).all()
    assert (along[~occupied] < 1e-5).all() and (along[~occupied] > -0.1 - 1e-5).all()
    assert along.abs().mean().item() == pytest.approx(0.05, abs=0.005)
    # a kind never draws a return twice
    assert len(own[occupied].unique()) == occupied.sum()


def test_rays_are_empty_between_sensor_and_return():
    points, queries = draw(origin=(1.0, 2, 3))
    moved = queries.position[~queries.has_intensity] - torch.tensor([1.0, 2, 3])
    rays = points[:, :3] - torch.tensor([1.0, 2, 3])
    unit = torch.nn.functional.normalize(rays, dim=1)
    distance, own = (torch.nn.functional.normalize(moved, dim=1) @ unit.T).max(1)
    assert distance.min() > 1 - 1e-5
    share = moved.norm(dim=1) / rays[own].norm(dim=1)
    assert share.max() <= 1 + 1e-5
    assert np.histogram(share.numpy(), 4, (0, 1))[0].min() > 130  # uniform: about 170 each


def test_released_order_of_draws():
    """The same torch seed gives the queries of the released code: three permutations, then three uniform vectors."""
    points, queries = draw(300, seed=5)
    torch.manual_seed(5)
    rows = [torch.randperm(5000)[:100] for _ in range(3)]
    u = [torch.rand(100, 1) for _ in range(3)]
    xyz, unit = points[:, :3], torch.nn.functional.normalize(points[:, :3], dim=1)
    expected = [
        xyz[rows[0]] + 0.1 * u[0] * unit[rows[0]],
        xyz[rows[1]] - 0.1 * u[1] * unit[rows[1]],
        u[2] * xyz[rows[2]],
    ]
    torch.testing.assert_close(queries.position, torch.cat(expected))


def test_few_returns_give_few_queries():
    _, queries = draw(2048, points=cloud(100))
    assert queries.occupied.sum() == 100 and len(queries.position) == 300
    assert len(draw(2048, points=cloud(0))[1].position) == 0


AUGMENTATIONS = {
    'rotation': [GlobalRotScaleTrans(rot_range=[0.5, 3.0], scale_ratio_range=[1.0, 1.0])],
    'scale': [GlobalRotScaleTrans(rot_range=[0.0, 0.0], scale_ratio_range=[0.5, 0.8])],
    'translation': [
        GlobalRotScaleTrans(rot_range=[0.0, 0.0], scale_ratio_range=[1.0, 1.0], translation_std=[3.0, 3.0, 1.0])
    ],
    'flips': [RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.0)],
    'shift': [ShiftPoints()],
    'shift between': [
        RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=0.0),
        ShiftPoints(),
        GlobalRotScaleTrans(rot_range=[0.5, 3.0], scale_ratio_range=[0.5, 0.8]),
    ],
    'all': [
        GlobalRotScaleTrans(rot_range=[0.5, 3.0], scale_ratio_range=[0.5, 0.8], translation_std=[3.0, 3.0, 1.0]),
        RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=1.0, flip_ratio_bev_vertical=1.0),
    ],
}


@pytest.mark.parametrize('per_point', [False, True])
@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_sampling_commutes_with_augmentation(name, per_point):
    """Augmenting a cloud and then drawing gives what augmenting the queries of the cloud itself gives."""
    points = cloud(500)
    where = torch.tensor([1.0, -2.0, 0.5])
    origin = torch.rand(500, 3) if per_point else where
    step = SampleOccupancyQueries(300, 0.3, origin=where.tolist())
    more = dict(sensor_origin=origin.numpy()) if per_point else {}

    torch.manual_seed(3)
    plain = occupancy_queries(points[:, :3], points[:, 3], origin, 300, 0.3)

    def augment(xyz) -> dict:
        np.random.seed(4)
        results = results_of(xyz, **copy.deepcopy(more))
        for transform in AUGMENTATIONS[name]:
            results = transform(results)
        return results

    expected = augment(plain.position)['points'].tensor[:, :3]
    results = augment(points)
    torch.manual_seed(3)
    queries = step(results)['queries']
    torch.testing.assert_close(queries.position, expected, rtol=1e-4, atol=1e-4)
    assert (expected - plain.position).abs().max() > 0.1


def test_the_same_augmentation_twice_is_refused():
    results = results_of(cloud(50))
    for _ in range(2):
        results = AUGMENTATIONS['rotation'][0](results)
    with pytest.raises(ConfigError, match='augmented twice'):
        SampleOccupancyQueries(30)(results)


def test_intensity_is_scaled_and_may_be_missing():
    points = cloud(100) * torch.tensor([1, 1, 1, 255.0])
    known = SampleOccupancyQueries(90, intensity_scale=255.0)(results_of(points))['queries']
    assert known.intensity.max() <= 1 and known.intensity.max() > 0.5
    missing = SampleOccupancyQueries(90)(results_of(points[:, :3]))['queries']
    assert not missing.has_intensity.any() and len(missing.intensity) == 90


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_points_that_are_not_finite_name_their_file(value):
    points = cloud(50)
    points[7, 1] = value
    with pytest.raises(DataError, match=r'scan\.bin.*not finite'):
        SampleOccupancyQueries(30)(results_of(points))


def test_several_sweeps_need_the_place_of_the_sensor():
    points = cloud(60, columns=5)
    SampleOccupancyQueries(30)(results_of(points))
    points[30:, 4] = 0.05
    with pytest.raises(DataError, match='sensor_origin'):
        SampleOccupancyQueries(30)(results_of(points))
    SampleOccupancyQueries(30)(results_of(points, sensor_origin=np.zeros((60, 3), np.float32)))


@pytest.mark.parametrize(
    'origin', [np.zeros((59, 3)), np.zeros((60, 2)), np.full((60, 3), np.nan), np.array([0, np.inf, 0]), np.zeros(4)]
)
def test_places_of_the_sensor_that_do_not_fit_name_the_scan(origin):
    points = cloud(60)
    SampleOccupancyQueries(30)(results_of(points, sensor_origin=np.ones(3, np.float32)))
    with pytest.raises(DataError, match=r"scan\.bin: results\['sensor_origin'\] of shape .* 60 points"):
        SampleOccupancyQueries(30)(results_of(points, sensor_origin=origin))


def test_one_return_of_each_voxel():
    xyz = torch.tensor([[0.05, 0, 0], [0.09, 0.01, 0.02], [-0.05, 0, 0], [0.15, 0, 0], [-0.01, 0, 0]])
    assert sorted(first_of_voxels(xyz, 0.1).tolist()) == [0, 2, 3]
    points = torch.cat([xyz, torch.arange(5.0)[:, None]], 1)
    queries = SampleOccupancyQueries(30, delta=0.0, voxel_size=0.1)(results_of(points))['queries']
    assert sorted(queries.intensity[queries.occupied].tolist()) == [0, 2, 3]


def test_sampled_points_take_pairs_labels_and_origins_with_them():
    points, origins = cloud(100), np.random.rand(100, 3)
    pairs = Pairs(
        point=torch.arange(100), camera=torch.zeros(100).long(), position=torch.arange(100.0)[:, None].repeat(1, 2)
    )
    results = results_of(points, pairs=pairs, pts_semantic_mask=np.arange(100), sensor_origin=origins)
    np.random.seed(0)
    kept = SamplePoints(40)(results)
    rows = kept['pts_semantic_mask']
    assert len(rows) == 40 and len(set(rows)) == 40
    assert torch.equal(kept['points'].tensor, points[rows])
    assert kept['pairs'].position[:, 0].tolist() == rows.tolist()
    assert kept['pairs'].point.tolist() == list(range(40))
    assert np.array_equal(kept['sensor_origin'], origins[rows])
    assert len(SamplePoints(1000)(results_of(points))['points']) == 100


def test_every_point_is_as_likely_to_stay():
    points, count = cloud(20), np.zeros(20)
    np.random.seed(0)
    for _ in range(500):
        count[(SamplePoints(5)(results_of(points))['points'].tensor[:, 3] * 20).round().long()] += 1
    assert abs(count / 500 - 0.25).max() < 0.08


def test_queries_travel_in_the_packed_sample():
    results = SampleOccupancyQueries(30)(results_of(cloud(50)))
    queries = PackPaired()(results)['inputs']['queries']
    assert isinstance(queries, Queries)
    joint = Queries.batch([queries, queries[:5], queries], [1, 1, 1])
    assert joint.scan.tolist() == [0] * 30 + [1] * 5 + [2] * 30
    assert torch.equal(joint.position[35:], queries.position)
