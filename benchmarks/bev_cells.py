#!/usr/bin/env python3
"""BEVContrast's cells as keys and means against dense maps: time, peak memory, agreement.

From the head's outputs for the voxels of pairs of scans to the two unit vectors of 4096 drawn cells, forward and
backward, each way in a process of its own. Memory is the peak above the inputs and their gradient, which both ways
have; what follows, 4096 x 4096 similarities, is the same, too. Maps of nuScenes (170 x 170 cells) and of SemanticKITTI
(512 x 512), 128 channels.
"""

import multiprocessing
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory

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


def write_inputs(case: str, path: Path) -> None:
    """Write the voxels of pairs of clouds, the second one moved and turned, with features."""
    pairs, count, voxel, _ = CASES[case]
    clouds, moves = [], []
    for number in range(pairs):
        clouds += [lidar_points(count, seed=2 * number + frame) for frame in (0, 1)]
        move = torch.eye(4, dtype=torch.float64)
        angle = torch.tensor(0.5 + number)
        move[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        move[:2, 3] = torch.tensor([3.3, 1.7])
        moves += [torch.eye(4, dtype=torch.float64), move]
    voxels = voxelize(clouds, (voxel,) * 3, 'cartesian')
    features = torch.randn(len(voxels.first), CHANNELS, generator=torch.Generator().manual_seed(0))
    points, scan = torch.cat(clouds)[voxels.first], voxels.coords[:, 0].long()
    torch.save(dict(points=points, scan=scan, features=features, moves=torch.stack(moves)), path)


def make_batch(points: torch.Tensor, scan: torch.Tensor, features: torch.Tensor, moves: torch.Tensor) -> EncodedBatch:
    """A batch in which every voxel has one point; two scans are a sample."""
    single = [Frames.single(1, frame=number % 2, to_sample=move) for number, move in enumerate(moves)]
    return EncodedBatch(
        points=points,
        scan=scan,
        student=VoxelFeatures(features, torch.arange(len(points))),
        frames=Frames.batch([Frames.cat(pair) for pair in zip(single[::2], single[1::2])]),
        pairs=Pairs.empty(),
        heads=nn.ModuleDict(dict(bev=Embeddings())),
        generator=torch.Generator().manual_seed(1),
        make_teacher_map=lambda: None,
    )


def straightforward(batch: EncodedBatch, cell: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A map of every scan, that of the earlier one warped to the later one."""
    side, scans = int(2 * REACH / cell + 1e-6), len(batch.frames.frame)
    low, size = -REACH, side * cell
    column, row = ((batch.points[:, :2].double() - low) / cell).floor().long().T
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    # what lies beyond the map goes to a last place
    cells = scans * side * side
    place = torch.where(inside, (batch.scan * side + row) * side + column, cells)
    sums = torch.zeros(cells + 1, CHANNELS).index_add(0, place, batch.student.features)[:cells]
    count = torch.bincount(place, minlength=cells + 1)[:cells]
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


def step(way, batch: EncodedBatch, cell: float) -> tuple[float, int]:
    """Forward and backward; the loss and the number of cells."""
    batch.student.features.grad = None
    k, q = way(batch, cell)
    loss = (k * q).sum(1).sub(1).square().mean()
    loss.backward()
    return loss.item(), len(k)


def peak_memory() -> int:
    """Bytes that this process had at most."""
    return int(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024


def measure(way, cell: float, path: Path, results) -> None:
    """Median seconds, peak memory above the inputs and their gradient in MB, loss, number of cells, gradient."""
    inputs = torch.load(path)
    features = inputs.pop('features').requires_grad_()
    # libraries allocate memory of their own when they are first used
    few = dict(points=inputs['points'][:200], scan=inputs['scan'][:200] * 0, moves=inputs['moves'][:2])
    few['scan'][100:] = 1
    step(way, make_batch(**few, features=features[:200].detach().requires_grad_()), 10.0)
    # the peak of imports is forgotten (Linux)
    Path('/proc/self/clear_refs').write_text('5')
    before = peak_memory() + features.nbytes
    times = []
    for _ in range(REPEATS):
        batch = make_batch(**inputs, features=features)
        start = time.perf_counter()
        loss, cells = step(way, batch, cell)
        times.append(time.perf_counter() - start)
    peak = (peak_memory() - before) / 2**20
    results.put((sorted(times)[REPEATS // 2], peak, loss, cells, features.grad.numpy()))


def compare(case: str, path: Path) -> None:
    """Measure both ways in a case, print times, memory and differences."""
    pairs, count, voxel, cell = CASES[case]
    context, found = multiprocessing.get_context('spawn'), []
    write_inputs(case, path)
    for way in (straightforward, ours):
        results = context.Queue()
        process = context.Process(target=measure, args=(way, cell, path, results))
        process.start()
        found.append(results.get())
        process.join()
    (slow, slow_memory, *slow_loss, slow_grad), (fast, fast_memory, *fast_loss, fast_grad) = found
    print(f'{case}: {pairs} x 2 scans of {count} points, voxels of {voxel} m, cells of {cell} m')
    print(f'  dense maps      {slow * 1000:7.0f} ms, {slow_memory:6.0f} MB')
    print(f'  keys and means  {fast * 1000:7.0f} ms, {fast_memory:6.0f} MB')
    print(f'  {slow / fast:.1f} times faster, {slow_memory / fast_memory:.1f} times less memory')
    worst = abs(slow_grad - fast_grad).max() / abs(slow_grad).max()
    print('  loss {:.6f} of {} cells and {:.6f} of {}'.format(*slow_loss, *fast_loss), end='; ')
    print(f'largest difference of a gradient: {worst:.1e} of its peak', flush=True)


def main() -> None:
    """Compare both ways in all cases."""
    with TemporaryDirectory() as folder:
        for case in CASES:
            compare(case, Path(folder, f'{case}.pth'))


if __name__ == '__main__':
    main()
