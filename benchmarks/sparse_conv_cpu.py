"""CPU sparse convolution: MinkUNet18-w16 on one sweep, forward and backward, against spconv on one thread.

    python benchmarks/sparse_conv_cpu.py [--voxels 24000] [--repeats 5]

spconv's own CPU convolution is exact with one OpenMP thread only, and its backward asks for a CUDA stream; it
is measured in a process of its own with OMP_NUM_THREADS=1 and a stream of 0, so that it works.
Both processes build the same network from the same seed on the same sweep. Times are of float32; results are
compared in float64 as well, because in float32 a difference in the last digit flips single ReLUs, which shows
in gradients.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

NETWORK = dict(
    in_channels=4,
    base_channels=16,
    encoder_channels=[16, 32, 64, 128],
    encoder_blocks=[2, 2, 2, 2],
    decoder_channels=[128, 64, 48, 48],
    decoder_blocks=[2, 2, 2, 2],
    sparseconv_backend='spconv',
)


def synthetic_sweep(num_voxels: int, seed: int = 0, voxel_size: float = 0.1) -> torch.Tensor:
    """Voxels of a 32-beam sweep over flat ground between walls at 5 to 40 m: int32 (num_voxels, 4)."""
    generator = torch.Generator().manual_seed(seed)
    elevation, azimuth = torch.meshgrid(
        torch.deg2rad(torch.linspace(-30, 10, 32)), torch.arange(1400) * (2 * torch.pi / 1400), indexing='ij'
    )
    ray = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1).reshape(
        -1, 3
    )
    wall = 5 + 35 * torch.rand(35, generator=generator).repeat_interleave(40).repeat(32)
    ground = torch.where(ray[:, 2] < 0, 1.8 / -ray[:, 2], torch.inf)
    distance = torch.minimum(ground, wall / ray[:, :2].norm(dim=1))
    points = ray * distance[:, None] + 0.02 * torch.randn(len(ray), 3, generator=generator)
    voxels = torch.unique(torch.round(points / voxel_size).int(), dim=0)
    voxels = voxels - voxels.min(0).values
    if len(voxels) < num_voxels:
        raise SystemExit(f'the sweep has {len(voxels)} voxels, ask for at most so many')
    kept = torch.randperm(len(voxels), generator=generator)[:num_voxels].sort().values
    return torch.nn.functional.pad(voxels[kept], (1, 0)).contiguous()


def measure(num_voxels: int, repeats: int, dtype: torch.dtype = torch.float32) -> dict:
    """Best times of forward and backward in seconds (after one pass that is not counted), and the results.

    Returns:
        dict with forward, backward: float; out: (num_voxels, 48); grad: (num_voxels, 4) gradient of the input;
        weights: gradients of the parameters by name.
    """
    from mmdet3d.models import MinkUNetBackbone

    torch.manual_seed(0)
    network = MinkUNetBackbone(**{k: list(v) if isinstance(v, list) else v for k, v in NETWORK.items()}).to(dtype)
    coordinates = synthetic_sweep(num_voxels)
    features = torch.randn(num_voxels, 4).to(dtype).requires_grad_()
    weight = torch.randn(num_voxels, 48).to(dtype)
    forward, backward = [], []
    for _ in range(repeats + 1):
        network.zero_grad()
        features.grad = None
        start = time.perf_counter()
        out = network(features, coordinates)
        middle = time.perf_counter()
        (out * weight).sum().backward()
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return dict(
        forward=min(forward[1:], default=forward[0]),
        backward=min(backward[1:], default=backward[0]),
        out=out.detach(),
        grad=features.grad,
        weights=gradients,
    )


def measure_both(num_voxels: int, repeats: int) -> dict:
    """`measure` in float32, and one pass in float64 under the key 'exact'."""
    return dict(measure(num_voxels, repeats), exact=measure(num_voxels, 0, torch.float64))


def spconv_alone(num_voxels: int, repeats: int) -> dict:
    """`measure_both` with spconv's own operators on one thread; peridot must not be imported."""
    import spconv.pytorch.ops
    from mmdet3d.models.backbones import minkunet_backbone

    spconv.pytorch.ops.get_current_stream = lambda: 0
    original = minkunet_backbone.SparseConvTensor
    # The same padded shape as ours, else the networks differ at odd sizes.
    minkunet_backbone.SparseConvTensor = lambda features, indices, shape, batch_size: original(
        features, indices, [-(-int(size) // 16) * 16 for size in shape], batch_size
    )
    torch.set_num_threads(1)
    return measure_both(num_voxels, repeats)


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()


def main() -> None:
    """Measure both backends, print times and differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--voxels', type=int, default=24000)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2, help='threads of our side')
    parser.add_argument('--spconv-alone', type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.spconv_alone:
        torch.save(spconv_alone(arguments.voxels, arguments.repeats), arguments.spconv_alone)
        return

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'spconv.pt'
        command = [sys.executable, __file__, '--spconv-alone', str(result), '--voxels', str(arguments.voxels)]
        subprocess.run(
            [*command, '--repeats', str(arguments.repeats)],
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            check=True,
        )
        theirs = torch.load(result)
    import peridot  # noqa: F401  (repairs spconv)

    torch.set_num_threads(arguments.threads)
    ours = measure_both(arguments.voxels, arguments.repeats)

    print(f'MinkUNet18-w16, {arguments.voxels} voxels, best of {arguments.repeats}, seconds')
    for name, side in ((f'peridot, {arguments.threads} threads', ours), ('spconv, 1 thread', theirs)):
        total = side['forward'] + side['backward']
        print(f'  {name:22s} forward {side["forward"]:.3f}  backward {side["backward"]:.3f}  sum {total:.3f}')
    total = [side['forward'] + side['backward'] for side in (ours, theirs)]
    print(f'ratio spconv / peridot: {total[1] / total[0]:.2f} (target: at least 1)')
    print(f'max abs difference of the output: {(ours["out"] - theirs["out"]).abs().max():.2e} in float32')
    ours, theirs = ours['exact'], theirs['exact']
    weights = max(relative(ours['weights'][k], theirs['weights'][k]) for k in ours['weights'])
    print(
        f'float64, largest difference over largest value: output {relative(ours["out"], theirs["out"]):.1e}, '
        f'input gradient {relative(ours["grad"], theirs["grad"]):.1e}, weight gradients {weights:.1e}'
    )


if __name__ == '__main__':
    main()
