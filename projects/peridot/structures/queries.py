"""Occupancy queries: places around a scan of which it is known whether they are occupied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData


class Queries(InstanceData):
    """One row per query.

    Fields (M queries):
        position (Tensor): (M, 3) float32, x, y, z in meters, in the frame of the points.
        occupied (Tensor): (M,) bool.
        intensity (Tensor): (M,) float32 reflectance of the return, in [0, 1]; 0 where it is unknown.
        has_intensity (Tensor): (M,) bool, whether the intensity is known.
        scan (Tensor, optional): (M,) int64 scan of the batch, see `batch`.
    """

    @classmethod
    def batch(cls, queries: Sequence[Queries]) -> Queries:
        """Queries of several scans in a row, with the number of their scan."""
        device = queries[0].position.device
        lengths = torch.tensor([len(q.position) for q in queries], device=device)
        scan = torch.repeat_interleave(torch.arange(len(queries), device=device), lengths)
        fields = {name: torch.cat([q[name] for q in queries]) for name, _ in queries[0].items()}
        return cls(**fields, scan=scan)
