#!/usr/bin/env python3
"""BEVContrast's cells as keys and means against dense maps: time, peak memory, agreement.

From the head's outputs for the voxels of pairs of scans to the two unit vectors of 4096 drawn cells, forward and
backward, each way in a process of its own. Memory is counted above the inputs and their gradient, which both ways have;
what follows, 4096 x 4096 similarities, is the same, too. Maps of nuScenes (170 x 170 cells) and of SemanticKITTI
(512 x 512), 128 channels.
"""

import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
import torch.nn.functional as F
from peridot.gpu_check.clouds import lidar_points
from peridot.models.batch import EncodedBatch
from peridot.models.functional import sample_uniformly
from peridot.models.objectives import BEVCellContrast
from peridot.models.objectives.bev_cell_contrast import source_scans
from peridot.models.students import VoxelFeatures, voxelize
from peridot.structures import Frames, Pairs
from torch import nn

# pairs of scans, points of a scan, sides of voxel and cell in meters
CASES = {'nuScenes': (4, 34_688, 0.1, 0.6), 'SemanticKITTI': (1, 120_000, 0.05, 0.2)}
CHANNELS, REACH, DRAWN, REPEATS = 128, 51.2, 4096, 3


class Embeddings(nn.Module):
    """The features are the head's outputs."""

    def embed_student(self, features: torch.Tensor) -> torch.Tensor:
        """The features."""
        return features


def make_batch(case: str) -> EncodedBatch:
    """Pairs of two clouds, the second one moved by some meters and turned, with features for their voxels."""
    pairs, count, voxel, _ = CASES[case]
    clouds, frames = [], []
    for number in range(pairs):
        clouds += [lidar_points(count, seed=2 * number + frame) for frame in (0, 1)]
        move = torch.eye(4, dtype=torch.float64)
        angle = torch.tensor(0.5 + number)
        move[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        move[:2, 3] = torch.tensor([3.3, 1.7])
        frames.append(Frames.cat([Frames.single(count), Frames.single(count, frame=1, to_sample=move)]))
    voxels = voxelize(clouds, (voxel,) * 3, 'cartesian')
    g = torch.Generator().manual_seed(0)
    return EncodedBatch(
        points=torch.cat(clouds)[voxels.first],
        scan=voxels.coords[:, 0].long(),
        student=VoxelFeatures(
            torch.randn(len(voxels.first), CHANNELS, generator=g).requires_grad_(), torch.arange(len(voxels.first))
        ),
        frames=Frames.batch(frames),
        pairs=Pairs.empty(),
        heads=nn.ModuleDict(dict(bev=Embeddings())),
        generator=g,
        make_teacher_map=lambda: None,
    )


def straightforward(batch: EncodedBatch, cell: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A map of every scan, that of the earlier one warped to the later one."""
    side, scans = int(2 * REACH / cell + 1e-6), len(batch.frames.frame)
    low, size = -REACH, side * cell
    column, row = ((batch.points[:, :2].double() - low) / cell).floor().long().T
    inside = ((row >= 0) & (row < side) & (column >= 0) & (column < side)).nonzero()[:, 0]
    place = ((batch.scan * side + row) * side + column)[inside]
    sums = torch.zeros(scans * side * side, CHANNELS).index_add(0, place, batch.student.features[inside])
    count = torch.bincount(place, minlength=scans * side * side)
    maps = (sums / count.clamp(min=1)[:, None]).view(scans, side, side, CHANNELS).permute(0, 3, 1, 2)
    filled = (count > 0).view(scans, 1, side, side)
    later = torch.arange(1, scans, 2)
    move = batch.frames.between(later, later - 1)
    # to coordinates of the map from -1 to 1
    middle = low + size / 2
    shift = (move[:, :2, :2] @ torch.full((2, 1), middle, dtype=torch.float64))[:, :, 0] + move[:, :2, 3] - middle
    theta = torch.cat([move[:, :2, :2], (shift / (size / 2))[:, :, None]], 2).float()
    grid = F.affine_grid(theta, [len(later), CHANNELS, side, side], align_corners=False)
    warped = F.grid_sample(maps[::2], grid, align_corners=False)
    met = F.grid_sample(filled[::2].float(), grid, align_corners=False) > 0
    scan, row, column = (filled[1::2] & met)[:, 0].nonzero().T
    drawn = sample_uniformly(len(scan), DRAWN, batch.generator, batch.device)
    scan, row, column = scan[drawn], row[drawn], column[drawn]
    return F.normalize(warped[scan, :, row, column], dim=1), F.normalize(maps[1::2][scan, :, row, column], dim=1)


def ours(batch: EncodedBatch, cell: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As `peridot.BEVCellContrast` computes it."""
    objective = BEVCellContrast(cell=cell, reach=REACH, num_cells=DRAWN)
    return objective.embeddings(batch, source_scans(batch.frames, *objective.frames))


def measure(way, case: str, results) -> None:
    """Median seconds, peak memory above the inputs and their gradient in MB, number of cells, loss and gradient."""
    batch, cell = make_batch(case), CASES[case][3]
    features = batch.student.features
    features.grad = torch.zeros_like(features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS):
        features.grad = None
        batch.generator.manual_seed(1)
        start = time.perf_counter()
        k, q = way(batch, cell)
        loss = (k * q).sum(1).sub(1).square().mean()
        loss.backward()
        times.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    results.put((sorted(times)[REPEATS // 2], peak, len(k), loss.item(), features.grad.numpy()))


def main() -> None:
    """Measure both ways in both cases, print times, memory and differences."""
    context = multiprocessing.get_context('spawn')
    for case, (pairs, count, voxel, cell) in CASES.items():
        found = []
        for way in (straightforward, ours):
            results = context.Queue()
            process = context.Process(target=measure, args=(way, case, results))
            process.start()
            found.append(results.get())
            process.join()
        (slow, slow_memory, cells, slow_loss, slow_grad), (fast, fast_memory, own, fast_loss, fast_grad) = found
        print(
            f'{case}: {pairs} pairs of {count} points, voxels of {voxel} m, cells of {cell} m, {cells} and {own} drawn'
        )
        print(f'  dense maps      {slow * 1000:7.0f} ms, {slow_memory:6.0f} MB')
        print(f'  keys and means  {fast * 1000:7.0f} ms, {fast_memory:6.0f} MB')
        print(f'  {slow / fast:.1f} times faster, {slow_memory / fast_memory:.1f} times less memory')
        worst = abs(slow_grad - fast_grad).max() / abs(slow_grad).max()
        print(f'  loss {slow_loss:.6f} and {fast_loss:.6f}; largest difference of a gradient: {worst:.1e} of its peak')


if __name__ == '__main__':
    main()
