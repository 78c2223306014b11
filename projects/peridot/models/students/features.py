"""What students give objectives."""

from collections.abc import Callable

import torch
from torch import Tensor

from peridot.models.students.supports import PointSupports, Supports


class PointFeatures:
    """Features of all points of a batch, computed once and read where objectives want them.

    Attributes:
        inside: Bool (N,), False for points that lie outside the network's range; None when it has no limit.
    """

    inside: Tensor | None = None

    def at(self, points: Tensor, transform: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Features of some points.

        Args:
            points: Int64 (P,) rows of the concatenated clouds.
            transform: Maps rows of features (M, C) to (M, D). It is applied to what the network computed,
                before anything is interpolated.

        Returns:
            (P, C), or (P, D) with a transform.
        """
        raise NotImplementedError

    def supports(self, xyz: Tensor, scan: Tensor) -> Supports:
        """Places that say something about the space around them: by default all points within the network's range.

        Args:
            xyz: Float (N, 3) all points of the batch, in meters.
            scan: Int64 (N,) their scans.
        """
        rows = torch.arange(len(xyz), device=xyz.device) if self.inside is None else self.inside.nonzero()[:, 0]
        return PointSupports(self, rows, xyz[rows], scan[rows])
