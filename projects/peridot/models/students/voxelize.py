"""Points to voxels and back."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from peridot.errors import ConfigError, DataError
from peridot.models.functional.counting import scans_of
from peridot.voxel_grid import shifted_to_grid

# total stride of the networks: they have four stages
STRIDE = 16


class Voxels(NamedTuple):
    """Occupied voxels of a batch.

    Attributes:
        coords: Int32 (M, 4), scan index, then three non-negative voxel indices; sorted by scan.
        first: Int64 (M,), row of the voxel's first point in the concatenated clouds.
        inverse: Int64 (N,), voxel of every point of the concatenated clouds.
        collapsed: Whether all voxels fall into one after the strides of a network.
    """

    coords: Tensor
    first: Tensor
    inverse: Tensor
    collapsed: bool


def cylindrical(xyz: Tensor) -> Tensor:
    """(N, 3) x, y, z in meters to (N, 3) range rho in meters, azimuth phi in degrees, z in meters."""
    rho = xyz[:, :2].norm(dim=1)
    phi = torch.rad2deg(torch.atan2(xyz[:, 1], xyz[:, 0]))
    return torch.stack((rho, phi, xyz[:, 2]), dim=1)


COORDINATES = {'cartesian': lambda xyz: xyz, 'cylindrical': cylindrical}


ROUNDING = {'floor': torch.floor, 'nearest': torch.round}
ORIGINS = ('grid', 'minimum')


def voxelize(
    points: list[Tensor],
    voxel_size: tuple[float, float, float],
    coordinates: str,
    rounding: str = 'floor',
    origin: str = 'grid',
) -> Voxels:
    """Group the points of each scan by voxel.

    Args:
        points: One (N_i, >=3) float tensor per scan, x, y, z in meters first.
        voxel_size: Size along the three coordinates (meters; degrees for azimuth).
        coordinates: 'cartesian', or 'cylindrical' (rho, phi, z) as SLidR and OLIVINE voxelize; azimuth is
            not wrapped, so voxels at -180 and 179 degrees are not neighbors.
        rounding: 'floor', a voxel begins at a multiple of its size; or 'nearest', its center lies there (SuperFlow).
        origin: What the indices count from: 'grid', a multiple of the networks' stride below all scans, so that the
            same voxels share a parent wherever a cloud lies; or 'minimum', the lowest index of each scan (SuperFlow).

    Raises:
        DataError: A scan has no point.
        ConfigError: Unknown coordinates, rounding or origin, or a grid too large for 64-bit keys.
    """
    words = dict(coordinates=(coordinates, COORDINATES), rounding=(rounding, ROUNDING), origin=(origin, ORIGINS))
    for name, (word, known) in words.items():
        if word not in known:
            raise ConfigError(f'{name}={word!r}: choose one of {sorted(known)}')
    if any(len(p) == 0 for p in points):
        raise DataError('a scan without points reached the student: check the range filters of the pipeline')
    xyz = torch.cat([p[:, :3] for p in points]).float()
    scan = scans_of([len(p) for p in points], xyz.device)
    coords = ROUNDING[rounding](COORDINATES[coordinates](xyz) / xyz.new_tensor(voxel_size)).long()
    if origin == 'grid':
        coords = shifted_to_grid(coords, STRIDE)
    else:
        coords = coords - torch.stack([part.amin(0) for part in coords.split([len(p) for p in points])])[scan]
    extent = (coords.amax(0) + 1).tolist()
    if math.prod(extent) * len(points) >= 2**62:
        raise DataError('points span too many voxels: check for outliers or non-finite coordinates')
    key = ((scan * extent[0] + coords[:, 0]) * extent[1] + coords[:, 1]) * extent[2] + coords[:, 2]
    unique, inverse = torch.unique(key, return_inverse=True)
    order = torch.arange(len(key), device=key.device)
    first = torch.full_like(unique, len(key)).scatter_reduce_(0, inverse, order, 'amin')
    collapsed = len(points) == 1 and max(extent) <= STRIDE
    return Voxels(torch.cat((scan[first, None], coords[first]), dim=1).int(), first, inverse, collapsed)


def collapses_to_one_voxel(coords: Tensor) -> bool:
    """True if all voxels, Int (M, 4) with the scan first, fall into one after the strides of a network."""
    coarse = torch.cat((coords[:, :1], coords[:, 1:] // STRIDE), dim=1)
    return bool((coarse == coarse[:1]).all())


@contextmanager
def running_statistics(module: nn.Module, when: bool) -> Iterator[None]:
    """Normalize by running statistics inside the block; afterwards every normalization has the mode that it had.

    A handful of points has no batch statistics at the deepest level of a network.

    Args:
        module: The network.
        when: False leaves the network as it is.
    """
    # convolutions of spconv compute no gradients on GPUs in evaluation mode: they keep theirs
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)] if when else []
    training = [norm for norm in norms if norm.training]
    try:
        for child in training:
            child.training = False
        yield
    finally:
        for child in training:
            child.training = True
