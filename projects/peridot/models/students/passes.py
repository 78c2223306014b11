"""Scans of several kinds in passes of their own, so that batch statistics are those of a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.models.students.features import PointFeatures


@dataclass
class SeparateFeatures(PointFeatures):
    """Features that come from several passes of a network.

    Attributes:
        passes: Features of each pass.
        bounds: Where the points of each pass begin if they are concatenated, and the end.
        place: Int64 (N,), place there of every point of the batch's concatenated clouds.
    """

    passes: list[PointFeatures]
    bounds: list[int]
    place: Tensor

    def __post_init__(self) -> None:
        if any(part.inside is not None for part in self.passes):
            sizes = [end - begin for begin, end in pairwise(self.bounds)]
            whole = [torch.ones(size, dtype=torch.bool, device=self.place.device) for size in sizes]
            found = [full if part.inside is None else part.inside for part, full in zip(self.passes, whole)]
            self.inside = torch.cat(found)[self.place]

    def at(self, points: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """See `PointFeatures`."""
        place, rows, values = self.place[points], [], []
        for part, (begin, end) in zip(self.passes, pairwise(self.bounds)):
            rows.append(((place >= begin) & (place < end)).nonzero()[:, 0])
            values.append(part.at(place[rows[-1]] - begin, embed))
        return torch.cat(values)[torch.cat(rows).argsort()]

    def units(self) -> Tensor:
        """Refused, see `PointFeatures`: an objective over units reads the features of one pass."""
        raise ConfigError("model.batch_statistics='separate' gives no voxels to BEVCellContrast: set 'joint'")


def in_passes(student: nn.Module, points: list[Tensor], kinds: Sequence[int]) -> SeparateFeatures:
    """Features of a batch of clouds, those of each kind in a pass of their own, in the order of the kinds.

    Args:
        student: The network.
        points: Clouds (N_i, >=3).
        kinds: Kind of every cloud.
    """
    own = [[scan for scan, kind in enumerate(kinds) if kind == one] for one in sorted(set(kinds))]
    passes = [student([points[scan] for scan in scans]) for scans in own]
    rows = torch.arange(sum(map(len, points)), device=points[0].device).split([len(cloud) for cloud in points])
    rows = torch.cat([rows[scan] for scans in own for scan in scans])
    sizes = [sum(len(points[scan]) for scan in scans) for scans in own]
    return SeparateFeatures(passes, list(accumulate(sizes, initial=0)), rows.argsort())
