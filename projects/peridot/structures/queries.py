"""Occupancy queries: places around a scan that are known to be occupied or free."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from mmengine.structures import InstanceData


class Queries(InstanceData):
    """One row per query, M in all.

    Attributes:
        position: Float32 (M, 3), x, y, z in meters, in the frame of the points.
        occupied: Bool (M,).
        intensity: Float32 (M,), reflectance of the return, in [0, 1]; 0 where it is unknown.
        has_intensity: Bool (M,), True where the intensity is known.
        scan: Int64 (M,), scan of the sample or batch; all 0 if the field is absent.
    """

    @classmethod
    def batch(cls, queries: Sequence[Queries], num_scans: Sequence[int]) -> Queries:
        """Concatenate the queries of several samples, or of frames of one, and number their scans.

        Args:
            queries: The samples' queries.
            num_scans: Scans of every sample.
        """
        fields = {name: torch.cat([q[name] for q in queries]) for name, _ in queries[0].items() if name != 'scan'}
        own = [q.scan if 'scan' in q else torch.zeros_like(q.occupied, dtype=torch.int64) for q in queries]
        first = accumulate(num_scans, initial=0)
        return cls(**fields, scan=torch.cat([scan + start for scan, start in zip(own, first)]))
