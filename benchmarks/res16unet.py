#!/usr/bin/env python3
"""Seconds of a training step and multiply-adds: Res16UNet34C against mmdet3d's MinkUNet34 on the same sweep.

    python benchmarks/res16unet.py [--device cuda] [--voxels 24000] [--repeats 5]

A step is forward and backward of the network alone. Multiply-adds are those of the forward pass: pairs of voxels times
input and output channels, summed over all sparse convolutions.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peridot  # noqa: F401  (repairs spconv)
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.compat import spconv_cpu
from peridot.models.backbones import Res16UNet
from peridot.registry import MODELS
from sparse_conv_cpu import synthetic_sweep
from torch import nn

CONFIG = Path(__file__).parents[1] / 'configs' / '_base_' / 'models' / 'minkunet34_r50.py'


@contextmanager
def counted_multiply_adds() -> Iterator[list[int]]:
    """A list that gets the multiply-adds of every sparse convolution on the CPU inside the block."""
    counts, convolve = [], spconv_cpu.convolve

    def counting(features, filters, table, num_rows, inverse=False):
        pairs = table.num_pairs + (num_rows if table.center is not None else 0)
        counts.append(pairs * filters.shape[0] * filters.shape[-1])
        return convolve(features, filters, table, num_rows, inverse)

    spconv_cpu.convolve = counting
    try:
        yield counts
    finally:
        spconv_cpu.convolve = convolve


def multiply_adds(network: nn.Module, coordinates: torch.Tensor) -> int:
    """Multiply-adds of a forward pass; kernels of size 1 multiply all rows."""
    handles = []
    with counted_multiply_adds() as counts, torch.no_grad():
        for module in network.modules():
            if getattr(module, 'conv1x1', False):
                size = module.in_channels * module.out_channels
                handles.append(
                    module.register_forward_hook(lambda m, x, out, n=size: counts.append(len(out.features) * n))
                )
        network(torch.ones(len(coordinates), 1), coordinates)
    for handle in handles:
        handle.remove()
    return sum(counts)


def step_seconds(network: nn.Module, coordinates: torch.Tensor, repeats: int) -> float:
    """Best time of forward and backward, after one pass that is not counted."""
    device = coordinates.device
    features = torch.ones(len(coordinates), 1, device=device)
    times = []
    for _ in range(repeats + 1):
        network.zero_grad()
        start = time.perf_counter()
        network(features, coordinates).sum().backward()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Measure both networks and print the ratio of their times per multiply-add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--voxels', type=int, default=24000)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    coordinates = synthetic_sweep(args.voxels)
    init_default_scope('mmdet3d')
    minkunet34 = MODELS.build(Config.fromfile(CONFIG).model.student.backbone)
    rates = []
    for name, network in (('MinkUNet34', minkunet34), ('Res16UNet34C', Res16UNet())):
        count = multiply_adds(network, coordinates)
        seconds = step_seconds(network.to(args.device), coordinates.to(args.device), args.repeats)
        rates.append(seconds / count)
        print(f'{name:14s} {seconds:6.3f} s a step, {count / 1e9:6.2f} G multiply-adds forward', flush=True)
    print(f'ratio per multiply-add, Res16UNet34C / MinkUNet34: {rates[1] / rates[0]:.2f} (target: at most 1.1)')


if __name__ == '__main__':
    main()
