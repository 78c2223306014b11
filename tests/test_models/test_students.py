import math

import numpy as np
import pytest
import torch
from peridot.errors import ConfigError, DataError
from peridot.models.students import voxelize

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


def test_voxels_are_unique_and_sorted_by_scan():
    voxels = voxelize([cloud(500, 2), cloud(10, 3)], (0.5, 0.5, 0.5), 'cartesian')
    assert len(torch.unique(voxels.coords, dim=0)) == len(voxels.coords)
    assert (voxels.coords[:, 0].diff() >= 0).all()


def test_voxelize_rejects_bad_input():
    with pytest.raises(ConfigError, match='spherical'):
        voxelize([cloud(5, 0)], (1, 1, 1), 'spherical')
    with pytest.raises(DataError, match='without points'):
        voxelize([cloud(5, 0), cloud(0, 0)], (1, 1, 1), 'cartesian')
    with pytest.raises(DataError, match='outliers'):
        voxelize([torch.tensor([[0.0, 0, 0, 0], [1e12, 1e12, 1e12, 0]])], (0.1, 0.1, 0.1), 'cartesian')
