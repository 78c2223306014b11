"""BEVContrast: cells of the bird's-eye view of two scans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import (
    CellGrid,
    cell_keys,
    corner_cells,
    find_cells,
    mean_of_cells,
    near_cells,
    read_cells,
    sample_uniformly,
)
from peridot.models.objectives.contrast import Contrast
from peridot.models.students import BEVFeatures
from peridot.models.students.features import Supports
from peridot.registry import MODELS
from peridot.structures import Frames

GEOMETRIES = ('exact', 'published')


@MODELS.register_module()
class BEVCellContrast(Contrast):
    """A cell on the ground should find itself in another scan of the drive: BEVContrast's loss.

    The columns above cells have embeddings: the mean over the cell's voxels of what the head gives (voxels, tokens), or
    the head on the cell's own feature (trunks of detectors). The map of the first frame is read, bilinearly, where
    the poses say that a cell of the second one lies in it. With unit vectors k_i of what is read and q_i of the cell
    itself, over the cells that are occupied in the second frame and have an occupied neighbor in the first,

        L = -1/M sum_i log( exp(k_i.q_i / t) / sum_j exp(k_i.q_j / t) )

    Cells are drawn from the whole batch of a process; both sides have gradients. A sample without one of the frames, at
    the end of a drive, has no part in the loss.

    Sautier et al., "BEVContrast: Self-Supervision in BEV Space for Automotive Lidar Point Clouds", 3DV 2024.

    Args:
        head: Head that gives the embeddings, `peridot.LatentHead`.
        cell: Side of a cell in meters; multiples of the voxel size keep voxels whole. Detectors have cells of their
            own.
        reach: Cells cover x and y from -reach to reach, in meters, without a last part of a cell. Detectors have a
            range of their own.
        num_cells: Cells drawn a step; fewer if the batch has fewer.
        frames: The frame that is read, and the one whose cells look themselves up in it; 0 is the keyframe, i the i-th
            frame of the dataset's `frames`.
        geometry: 'exact', or 'published': where `cell` does not divide the range, the released code takes the cells to
            be stretched over all of it, and moves them by up to the part that is left out.
        **contrast: See `Contrast`.

    Raises:
        ConfigError: `geometry` is another word, or the range has no cell.
    """

    def __init__(
        self,
        head: str = 'bev',
        cell: float = 0.6,
        reach: float = 51.2,
        num_cells: int = 4096,
        frames: Sequence[int] = (0, 1),
        geometry: str = 'exact',
        **contrast,
    ) -> None:
        super().__init__(head, **contrast)
        if geometry not in GEOMETRIES:
            raise ConfigError(f'BEVCellContrast: geometry={geometry!r}, choose from {", ".join(GEOMETRIES)}')
        # a range that is a multiple of the cell may be a little less of it in floating point
        cells = int(2 * reach / cell + 1e-6)
        if cells < 1:
            raise ConfigError(f'BEVCellContrast: no cell of {cell} m lies between -{reach} and {reach} m: raise reach')
        self.num_cells = num_cells
        self.frames = tuple(frames)
        self.grid = CellGrid((-reach, -reach), (cell, cell), (cells, cells))
        # where cells are taken to lie when they are looked up
        stretched = 2 * reach / cells
        self.lookup_grid = self.grid if geometry == 'exact' else self.grid._replace(cell=(stretched, stretched))
        self._looked = False

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `accuracy`, the ratio of cells whose own cell is the most similar; `cells` drawn; `unpaired`, the
            samples without one of the frames.
        """
        source = self.sources(batch.frames)
        unpaired = (batch.frames.frame == 0).sum() - (source >= 0).sum()
        self._warn_without_pairs(source)
        k, q = self.embeddings(batch, source)
        result = self.nothing(batch) if self.can_skip(len(k)) else self.info_nce(k, q)
        return {**result, 'cells': batch.log(len(k)), 'unpaired': batch.log(unpaired)}

    def sources(self, frames: Frames) -> Tensor:
        """Int64 (S,), for every scan of the second frame that of the first in its sample; -1 for others."""
        first, second = self.frames
        return frames.partners(second, first)

    def embeddings(self, batch: EncodedBatch, source: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of drawn cells, Float32 (M, D) each: read in the source scans, and of the cells themselves.

        Args:
            batch: Of several frames.
            source: Int64 (S,), see `sources`.
        """
        cells = self._cells(batch)
        scan = cells.grid.scan(cells.keys)
        xy = in_source(cells.grid.centers(cells.keys), scan, source, batch.frames)
        # cells beyond the grid have scan -1, as have those without a source
        other = torch.where(scan >= 0, source[scan], -1)
        rows = near_cells(cells.keys, xy, other, cells.grid).nonzero()[:, 0]
        rows = rows[sample_uniformly(len(rows), self.num_cells, batch.generator, batch.device)]
        k, q = cells.embeddings(rows, xy[rows], other[rows])
        return F.normalize(k, dim=1), F.normalize(q, dim=1)

    def _cells(self, batch: EncodedBatch) -> MeanCells | MapCells:
        """The occupied cells of all scans."""
        student, embed = batch.student, batch.heads[self.head].embed_student
        if isinstance(student, BEVFeatures):
            grid = CellGrid(student.lower, student.cell, tuple(student.bev.shape[-2:]))
            keys = student.occupied.flatten().nonzero()[:, 0]
            return MapCells(keys, grid, batch.supports, embed)
        rows = student.units()
        keys = cell_keys(batch.points[rows, :2], batch.scan[rows], self.grid)
        return MeanCells(keys.unique(), self.lookup_grid, embed(student.features), keys)

    def _warn_without_pairs(self, source: Tensor) -> None:
        if self._looked:
            return
        # at the first batch alone: the answer makes the step wait
        self._looked = True
        if not (source >= 0).any():
            print_log(
                f'no sample of the first batch has the frames {self.frames}, so there is no loss: unless this is the '
                'end of a drive, set train_dataloader.dataset.frames=dict(keyframes=(2,), cameras=False)',
                'current',
                logging.WARNING,
            )


@dataclass
class MeanCells:
    """Cells with the means of what lies in them; others are zero.

    Only the means that are read are computed.

    Attributes:
        keys: Int64 (K,), the occupied ones, ascending; the first may be -1, what lies beyond the grid.
        grid: Where the cells are taken to lie.
        values: Float (N, D), embeddings of voxels.
        cells: Int64 (N,), their cells.
    """

    keys: Tensor
    grid: CellGrid
    values: Tensor
    cells: Tensor

    def embeddings(self, rows: Tensor, xy: Tensor, scan: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings Float32 (M, D) as read at places (M, 2) of scans (M,), and those of the cells `rows` (M,)."""
        own = self.keys[rows]
        wanted = torch.cat([own, corner_cells(xy, scan, self.grid)[0].flatten()]).unique()
        means = mean_of_cells(self.values, self.cells, wanted)
        return read_cells(wanted, means, xy, scan, self.grid), means[find_cells(wanted, own)]


@dataclass
class MapCells:
    """Cells of a map of features, which has values in cells without points, too.

    Attributes:
        keys: Int64 (K,), the occupied ones, ascending.
        grid: Where they lie.
        supports: All cells of the map by key.
        embed: Maps features (M, C) to embeddings (M, D).
    """

    keys: Tensor
    grid: CellGrid
    supports: Supports
    embed: Callable[[Tensor], Tensor]

    def embeddings(self, rows: Tensor, xy: Tensor, scan: Tensor) -> tuple[Tensor, Tensor]:
        """See `MeanCells`; the head comes before the reading, as published."""
        corners, weights = corner_cells(xy, scan, self.grid)
        # what lies beyond the map weighs nothing
        values = self.supports.read(corners.clamp(min=0).flatten(), self.embed).float()
        read = (values.unflatten(0, corners.shape) * weights[:, :, None]).sum(1)
        return read, self.supports.read(self.keys[rows], self.embed).float()


def in_source(xy: Tensor, scan: Tensor, source: Tensor, frames: Frames) -> Tensor:
    """Where places on the ground of scans lie in their source scans, seen from above.

    Places are taken to be at height 0 of their own scan, that of the lidar, as published.

    Args:
        xy: Float64 (M, 2), in meters.
        scan: Int64 (M,), scans of the places.
        source: Int64 (S,), source of every scan; for -1 the places stay.
        frames: S scans.

    Returns:
        Float64 (M, 2).
    """
    scans = torch.arange(len(source), device=source.device)
    move = frames.between(scans, torch.where(source >= 0, source, scans))
    return (move[scan, :2, :2] @ xy[:, :, None])[:, :, 0] + move[scan, :2, 3]
