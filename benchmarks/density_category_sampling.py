#!/usr/bin/env python3
"""Time of density- and category-aware sampling: ours, and the dense kernel matrix of released code.

60,000 pairs with range bins of 0.1 m as a 32-beam lidar gives them, 17 weak classes of very unequal size, 4096
draws. The straightforward way evaluates the Gaussian kernel between every distinct range and every pair, and
draws with `torch.multinomial`. Prints the ratio of times and the largest relative difference between the
probabilities of the two; the reference for the latter is the dense way in double precision.

    python benchmarks/density_category_sampling.py
"""

import argparse
import math
import time
from collections.abc import Callable

import torch
from peridot.models.functional import density_category_sampling, density_category_weights
from torch import Tensor

CLASSES = 17
FARTHEST = 1000  # bins


def street_like_pairs(count: int) -> tuple[Tensor, Tensor]:
    """Range bins and weak labels, int64 (count,) each."""
    generator = torch.Generator().manual_seed(0)
    near = -torch.rand(count, generator=generator).log() * 120
    bins = (30 + near).long().clamp(max=FARTHEST)
    fractions = 0.5 ** torch.arange(CLASSES)
    return bins, torch.multinomial(fractions, count, replacement=True, generator=generator)


def dense_weights(bins: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / (density * label count), with the kernel matrix (distinct ranges, pairs)."""
    ranges = bins.to(dtype)
    bandwidth = 1.06 * ranges.std() * len(ranges) ** -0.2
    different, place = torch.unique(ranges, return_inverse=True)
    kernel = torch.exp(-0.5 * ((different[:, None] - ranges[None]) / bandwidth) ** 2)
    density = kernel.sum(1) / (len(ranges) * bandwidth * math.sqrt(2 * math.pi))
    return 1 / (density[place] * torch.bincount(labels)[labels])


def dense_sampling(bins: Tensor, labels: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Draws without replacement, the straightforward way."""
    return torch.multinomial(dense_weights(bins, labels, torch.float32), draws, generator=generator)


def seconds(run: Callable, repeats: int) -> float:
    """Best of several runs after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Measure both ways, print times and differences."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--pairs', type=int, default=60000)
    parser.add_argument('--draws', type=int, default=4096)
    parser.add_argument('--threads', type=int, default=1, help='number of threads of torch')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bins, labels = street_like_pairs(args.pairs)
    generator = torch.Generator().manual_seed(1)

    ours = seconds(lambda: density_category_sampling(bins, labels, args.draws, generator), 20)
    dense = seconds(lambda: dense_sampling(bins, labels, args.draws, generator), 3)
    exact = dense_weights(bins, labels, torch.float64)
    mine = density_category_weights(bins, labels).double()
    error = ((mine / mine.sum()) / (exact / exact.sum()) - 1).abs().max().item()

    print(f'{args.pairs} pairs in {len(bins.unique())} range bins, {args.draws} draws, {args.threads} thread(s)')
    print(f'dense kernel matrix    {1e3 * dense:9.2f} ms')
    print(f'histogram, convolution {1e3 * ours:9.2f} ms')
    print(f'ratio                  {dense / ours:9.1f} (target: at least 40)')
    print(f'largest relative error of the probabilities {error:.1e} (target: at most 1e-4)')


if __name__ == '__main__':
    main()
