"""Points to tokens and back."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peridot.errors import DataError
from peridot.models.functional.counting import histogram, scans_of
from peridot.models.functional.neighbors import nearest
from peridot.models.students.voxelize import voxelize

# meters between the outermost tokens and the bounds, as published
MARGIN = 1e-4


class Tokens(NamedTuple):
    """Tokens of a batch.

    Attributes:
        coords: Float32 (M, 4), scan index, x, y, z in meters; sorted by scan.
        first: Int64 (M,), row of the token in the concatenated clouds.
        inverse: Int64 (N,), token that every point of the concatenated clouds reads; -1 if it has none.
        inside: Bool (N,), True within the range.
    """

    coords: Tensor
    first: Tensor
    inverse: Tensor
    inside: Tensor


def tokenize(points: list[Tensor], point_cloud_range: Sequence[float], voxel_size: float | None) -> Tokens:
    """Choose the tokens of each scan.

    Args:
        points: One (N_i, >=3) float tensor per scan, x, y, z in meters first.
        point_cloud_range: x, y, z bounds in meters, lower ones first.
        voxel_size: In evaluation, size in meters of cubes whose first points are the tokens; every point reads its
            nearest token, also from outside the range. None in training: all points within the range are tokens,
            and the others have none.

    Raises:
        DataError: A scan has no point within the range.
    """
    sizes = [len(cloud) for cloud in points]
    xyz = torch.cat([cloud[:, :3] for cloud in points]).float()
    scan = scans_of(sizes, xyz.device)
    low, high = xyz.new_tensor(point_cloud_range).view(2, 3)
    inside = ((xyz > low + MARGIN) & (xyz < high - MARGIN)).all(1)
    candidates = torch.arange(len(xyz), device=xyz.device)
    if voxel_size is not None:
        candidates = voxelize(points, (voxel_size,) * 3, 'cartesian').first.sort().values
    first = candidates[inside[candidates]]
    counts = histogram(scan[first], len(points)).tolist()
    if 0 in counts:
        raise DataError(
            f'scan {counts.index(0)} of the batch has no point within {list(point_cloud_range)} m: check the range '
            'filters of the pipeline and model.student.backbone.point_cloud_range (fine-tuning: model.backbone)'
        )
    coords = torch.cat((scan[first, None].float(), xyz[first]), dim=1)
    if voxel_size is None:
        inverse = torch.full_like(scan, -1)
        inverse[first] = torch.arange(len(first), device=xyz.device)
    else:
        inverse = _nearest_tokens(xyz.split(sizes), xyz[first].split(counts))
    return Tokens(coords, first, inverse, inside)


def _nearest_tokens(clouds: Sequence[Tensor], tokens: Sequence[Tensor]) -> Tensor:
    start, parts = 0, []
    for cloud, own in zip(clouds, tokens):
        parts.append(nearest(cloud, own) + start)
        start += len(own)
    return torch.cat(parts)
