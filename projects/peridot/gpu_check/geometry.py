"""Voxels, neighbors, reading of maps and other functions without weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peridot.gpu_check.clouds import lidar_points
from peridot.gpu_check.compare import Case, Tensors
from peridot.gpu_check.objectives import IDS, SIZE, batch_inputs
from peridot.models import functional
from peridot.models.functional.neighbors import nearest, nearest_others
from peridot.models.functional.planes import cell_means, project_to_planes, read_cells
from peridot.models.functional.strongest_response import strongest_response
from peridot.models.students import tokenize, voxelize
from peridot.registry import MODELS

RANGE = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
# of places on the border of a cell: a device may round its angle or its product otherwise
BORDER = 1e-3


def cases(small: bool) -> dict[str, Case]:
    """A case of every function by its name."""
    count = 300 if small else 8000
    clouds = dict(a=lidar_points(count), b=lidar_points(count, seed=1))
    return {
        'voxelize, cartesian': Case(_voxels('cartesian'), clouds),
        'voxelize, cylindrical': Case(_voxels('cylindrical'), clouds, unequal=BORDER),
        'voxelize as mmdet3d': Case(_hard_voxels, clouds, hard_voxelization(), unequal=BORDER),
        'tokens in training': Case(_tokens(None), clouds),
        'tokens in evaluation': Case(_tokens(0.1), clouds, unequal=BORDER),
        'planes': Case(_planes, _with_features(clouds), unequal=BORDER),
        'nearest points': Case(_nearest, clouds, unequal=BORDER),
        'pairs in a radius': Case(_in_radius, clouds),
        'cells in a radius': Case(_cells, clouds),
        'strongest response': Case(_strongest, _embedding(count)),
        'reading of maps': Case(_reading, _maps(count)),
        'means of superpixels': Case(_superpixels, _maps(count)),
        'density of ranges': Case(_density, clouds, unequal=BORDER),
        'von Mises-Fisher': Case(_vmf, dict(r=torch.linspace(0, 1, 101))),
    }


def _clouds(inputs: Tensors) -> list[Tensor]:
    return [inputs['a'], inputs['b']]


def _joined(inputs: Tensors) -> tuple[Tensor, Tensor]:
    """Points of both scans and their scans."""
    points = torch.cat(_clouds(inputs))
    return points, torch.arange(2, device=points.device).repeat_interleave(len(inputs['a']))


def _voxels(coordinates: str):
    def run(_: nn.Module, inputs: Tensors) -> Tensors:
        voxels = voxelize(_clouds(inputs), (0.1, 1.0, 0.1), coordinates)
        # of every point: a single voxel more would move the rows of all that follow
        return dict(coords=voxels.coords[voxels.inverse], first=voxels.first[voxels.inverse])

    return run


def hard_voxelization() -> nn.Module:
    """The voxelization of CenterPoint, by an operator of mmcv."""
    layer = dict(max_num_points=10, voxel_size=[0.1, 0.1, 0.2], point_cloud_range=RANGE, max_voxels=(90000, 120000))
    return MODELS.build(dict(type='mmdet3d.Det3DDataPreprocessor', voxel=True, voxel_layer=layer))


def _hard_voxels(preprocessor: nn.Module, inputs: Tensors) -> Tensors:
    voxels = preprocessor.voxelize(_clouds(inputs), None)
    # a device may order them otherwise
    order = _key(voxels['coors'].long(), 2048).argsort()
    points = voxels['voxels'].sum(1)[order] / voxels['num_points'][order, None]
    return dict(coords=voxels['coors'][order], counts=voxels['num_points'][order], mean=points)


def _tokens(voxel_size: float | None):
    def run(_: nn.Module, inputs: Tensors) -> Tensors:
        tokens = tokenize(_clouds(inputs), RANGE, voxel_size)
        return dict(first=tokens.first, inverse=tokens.inverse, inside=tokens.inside)

    return run


def _with_features(clouds: Tensors) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    return {**clouds, 'features': torch.randn(2 * len(clouds['a']), 16, generator=generator, requires_grad=True)}


def _planes(_: nn.Module, inputs: Tensors) -> Tensors:
    points, scan = _joined(inputs)
    planes = project_to_planes(torch.cat((scan[:, None], points[:, :3]), 1), int(scan.max()) + 1, RANGE, [256, 256, 20])
    means = [read_cells(cell_means(inputs['features'], plane), plane) for plane in planes]
    return dict(cells=torch.stack([plane.cell for plane in planes]), means=torch.stack(means))


def _nearest(_: nn.Module, inputs: Tensors) -> Tensors:
    xyz, other = (cloud[:, :3].contiguous() for cloud in _clouds(inputs))
    neighbors, one = nearest_others(xyz, 16), nearest(other, xyz)
    distance = (xyz[neighbors] - xyz[:, None]).norm(dim=2)
    return dict(neighbors=neighbors, one=one, distance=distance, of_one=(xyz[one] - other).norm(dim=1))


def _in_radius(_: nn.Module, inputs: Tensors) -> Tensors:
    points, scan = _joined(inputs)
    query, support = functional.pairs_in_radius(points[:, :3] + 0.1, scan, points[:, :3].contiguous(), scan, 1.0)
    return dict(pairs=(query * len(points) + support).sort().values)


def _cells(_: nn.Module, inputs: Tensors) -> Tensors:
    points, scan = _joined(inputs)
    lower, cell = points.new_tensor(RANGE[:2]), points.new_tensor([0.4, 0.4])
    query, cells = functional.cells_in_radius(points, scan, lower, cell, (256, 256), 1.0)
    return dict(query=query, cells=cells)


def _embedding(count: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = dict(weight=(64, 5), bias=(64,), last=(64, 64))
    weights = {name: torch.randn(shape, generator=generator, requires_grad=True) for name, shape in shapes.items()}
    neighbors = torch.randint(count, (count, 16), generator=generator)
    return dict(**weights, features=torch.randn(count, 5, generator=generator), neighbors=neighbors)


def _strongest(_: nn.Module, inputs: Tensors) -> Tensors:
    return dict(response=strongest_response(**inputs))


def _maps(count: int) -> Tensors:
    inputs = batch_inputs(count, 2)
    return {name: inputs[name] for name in ('teacher_map', 'camera', 'position', 'superpixels')} | dict(
        teacher_map=inputs['teacher_map'].requires_grad_()
    )


def _reading(_: nn.Module, inputs: Tensors) -> Tensors:
    results = {}
    for memory in (torch.channels_last, torch.contiguous_format):
        feature_map = inputs['teacher_map'].contiguous(memory_format=memory)
        for corners in (True, False):
            place = (inputs['camera'], inputs['position'], SIZE, corners)
            results[f'{memory}, {corners}'] = functional.read_at(feature_map, *place)
    return results


def _superpixels(_: nn.Module, inputs: Tensors) -> Tensors:
    means, counts = functional.superpixel_mean(inputs['teacher_map'], inputs['superpixels'], IDS, True)
    return dict(means=means, counts=counts)


def _density(_: nn.Module, inputs: Tensors) -> Tensors:
    points, _ = _joined(inputs)
    bins = functional.range_bins(points, 0.1)
    # of the same bins on all devices
    exact = functional.range_bins(points.cpu(), 0.1).to(points.device)
    weights = functional.density_category_weights(exact, exact % 7)
    return dict(bins=bins, density=functional.range_density(exact), weights=weights)


def _vmf(_: nn.Module, inputs: Tensors) -> Tensors:
    kappa = functional.vmf_concentration(inputs['r'], 64)
    return dict(kappa=kappa, log_normalizer=functional.vmf_log_normalizer(kappa, 64))


def _key(coords: Tensor, size: int) -> Tensor:
    scan, z, y, x = coords.unbind(1)
    return ((scan * size + z) * size + y) * size + x
