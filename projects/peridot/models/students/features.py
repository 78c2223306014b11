"""Output of students: features of points, and support points that describe the space around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from peridot.models.functional import cells_in_radius, pairs_in_radius


class PointFeatures:
    """Features of all points of a batch, computed once and read wherever objectives need them.

    Attributes:
        inside: Bool (N,), False for points outside the network's range; None if it has no limit.
        layers: Features of the stages that the student was asked for, by name.
    """

    inside: Tensor | None = None
    layers: Mapping[str, PointFeatures] = MappingProxyType({})

    def at(self, points: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Features of some points.

        Args:
            points: Int64 (P,), rows of the concatenated clouds.
            embed: Maps rows of features (M, C) to embeddings (M, D), `Head.embed_student`. It is applied to what the
                network computed, before anything is interpolated.

        Returns:
            (P, C), or (P, D) with `embed`.
        """
        raise NotImplementedError

    def supports(self, xyz: Tensor, scan: Tensor) -> Supports:
        """Support points; by default all points within the network's range.

        Args:
            xyz: Float (N, 3), all points of the batch, in meters.
            scan: Int64 (N,), their scans.
        """
        rows = torch.arange(len(xyz), device=xyz.device) if self.inside is None else self.inside.nonzero()[:, 0]
        return PointSupports(self, rows, xyz[rows], scan[rows])

    def units(self) -> Tensor:
        """Rows Int64 (U,) of points that stand for one unit of the network each: the first one of a voxel, a token.

        In the order of `features` (U, C), which students with units have.
        """
        raise NotImplementedError


def first_of_units(unit: Tensor, num_units: int) -> Tensor:
    """Rows Int64 (U,) of the first point of every unit.

    Args:
        unit: Int64 (N,), unit of every point, -1 for none; all units have a point.
        num_units: U.
    """
    order = torch.arange(len(unit), device=unit.device)
    first = torch.full((num_units + 1,), len(unit), device=unit.device)
    return first.scatter_reduce_(0, torch.where(unit < 0, num_units, unit), order, 'amin')[:num_units]


class Supports(Protocol):
    """S support points of a batch, each with a feature of the student."""

    def near(self, position: Tensor, scan: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """All pairs of a place in space and a support within a radius.

        Args:
            position: Float (M, 3), in meters.
            scan: Int64 (M,).
            radius: In meters.

        Returns:
            Rows of `position` and supports, each Int64 (P,); all pairs of a row come together.
        """

    def offset(self, position: Tensor, supports: Tensor) -> Tensor:
        """(P, 3) meters from supports (P,) to places (P, 3)."""

    def read(self, supports: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Embeddings (P, D) of supports (P,)."""


@dataclass
class PointSupports:
    """Points as supports, searched in a ball.

    Attributes:
        student: Features of all points of the batch.
        rows: Int64 (S,), the points, as rows of the concatenated clouds.
        xyz: Float (S, 3), in meters.
        scan: Int64 (S,).
    """

    student: PointFeatures
    rows: Tensor
    xyz: Tensor
    scan: Tensor

    def near(self, position: Tensor, scan: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """See `Supports`."""
        return pairs_in_radius(position, scan, self.xyz, self.scan, radius)

    def offset(self, position: Tensor, supports: Tensor) -> Tensor:
        """See `Supports`."""
        return position - self.xyz[supports]

    def read(self, supports: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Supports`."""
        return self.student.at(self.rows[supports], embed)


@dataclass
class CellSupports:
    """All cells of a bird's-eye view as supports, searched in a vertical column around their centers.

    Attributes:
        bev: Float (B, C, H, W), rows along y.
        lower: Float (2,), x, y of the map's lower corner in meters.
        cell: Float (2,), size of a cell along x and y in meters.
    """

    bev: Tensor
    lower: Tensor
    cell: Tensor

    def near(self, position: Tensor, scan: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """See `Supports`; the distance is the one on the ground."""
        return cells_in_radius(position, scan, self.lower, self.cell, tuple(self.bev.shape[-2:]), radius)

    def offset(self, position: Tensor, supports: Tensor) -> Tensor:
        """See `Supports`; cells lie at z = 0."""
        _, row, column = self._place(supports)
        center = self.lower + (torch.stack([column, row], 1) + 0.5) * self.cell
        return torch.cat([position[:, :2] - center, position[:, 2:]], 1)

    def read(self, supports: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Supports`."""
        scan, row, column = self._place(supports)
        return embed(self.bev[scan, :, row, column])

    def _place(self, supports: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = self.bev.shape[-2:]
        return supports // (height * width), supports // width % height, supports % width
