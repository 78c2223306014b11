"""Occupancy queries: places around a scan of which it is known whether they are occupied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from mmengine.structures import InstanceData


class Queries(InstanceData):
    """One row per query.

    Fields (M queries):
        position (Tensor): (M, 3) float32, x, y, z in meters, in the frame of the points.
        occupied (Tensor): (M,) bool.
        intensity (Tensor): (M,) float32 reflectance of the return, in [0, 1]; 0 where it is unknown.
        has_intensity (Tensor): (M,) bool, whether the intensity is known.
        scan (Tensor, optional): (M,) int64 scan of the sample or batch; 0 where it is absent.
    """

    @classmethod
    def batch(cls, queries: Sequence[Queries], num_scans: Sequence[int]) -> Queries:
        """Queries of several samples, or frames of one, in a row, with the number of their scan.

        Args:
            queries (Sequence[Queries]): The samples' queries.
            num_scans (Sequence[int]): Scans of every sample.
        """
        fields = {name: torch.cat([q[name] for q in queries]) for name, _ in queries[0].items() if name != 'scan'}
        own = [q.scan if 'scan' in q else torch.zeros_like(q.occupied, dtype=torch.int64) for q in queries]
        first = accumulate(num_scans, initial=0)
        return cls(**fields, scan=torch.cat([scan + start for scan, start in zip(own, first)]))
