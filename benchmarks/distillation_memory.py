#!/usr/bin/env python3
"""ScaLR's loss read at pair positions against upsampling the teacher's map first. Time, peak memory, agreement.

2 images, a teacher of 1024 channels and stride 14, 10,000 pairs, forward and backward, for the image sizes of ScaLR and
of ScaLR+; each way in a process of its own.
"""

import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
import torch.nn.functional as F
from peridot.models.functional import read_at
from peridot.models.objectives.feature_distance import feature_distance

IMAGES, CHANNELS, STUDENT, STRIDE, PAIRS = 2, 1024, 768, 14, 10_000
SIZES = ((224, 448), (448, 896))
REPEATS = 3


def make_inputs(size: tuple[int, int]) -> dict:
    """Student features of the pairs' points, the head's weights, the teacher's map and the pairs."""
    g = torch.Generator().manual_seed(0)
    low = torch.randn(IMAGES, size[0] // STRIDE, size[1] // STRIDE, CHANNELS, generator=g).permute(0, 3, 1, 2)
    return dict(
        points=torch.randn(PAIRS, STUDENT, generator=g).requires_grad_(),
        head=(torch.randn(CHANNELS, STUDENT, generator=g) / STUDENT**0.5).requires_grad_(),
        feature_map=low,
        camera=torch.randint(0, IMAGES, (PAIRS,), generator=g),
        pixel=(torch.rand(PAIRS, 2, generator=g) * torch.tensor(size)).long(),
        size=size,
    )


def straightforward(points, head, feature_map, camera, pixel, size) -> torch.Tensor:
    """The map at the size of the images, indexed at the pixels."""
    dense = F.interpolate(feature_map, size, mode='bilinear', align_corners=True)
    v = F.normalize(dense[camera, :, pixel[:, 0], pixel[:, 1]], dim=1)
    return (F.normalize(points @ head.T, dim=1) - v).norm(dim=1).mean()


def ours(points, head, feature_map, camera, pixel, size) -> torch.Tensor:
    """As `peridot.FeatureDistance` computes it."""
    v = F.normalize(read_at(feature_map, camera, pixel.float(), size, True), dim=1)
    return feature_distance(F.normalize(points @ head.T, dim=1), v).mean()


def measure(way, size, results) -> None:
    """Median seconds, peak memory above the inputs in MB, loss and gradient of one way."""
    inputs = make_inputs(size)
    # libraries that the first product loads are not part of the loss
    (inputs['points'].detach()[:8] @ inputs['head'].detach().T).sum()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS):
        inputs['points'].grad = inputs['head'].grad = None
        start = time.perf_counter()
        loss = way(**inputs)
        loss.backward()
        times.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    results.put((sorted(times)[REPEATS // 2], peak, loss.item(), inputs['points'].grad.numpy()))


def main() -> None:
    """Measure both ways at both sizes, print times, memory and differences."""
    context = multiprocessing.get_context('spawn')
    for size in SIZES:
        found = []
        for way in (straightforward, ours):
            results = context.Queue()
            process = context.Process(target=measure, args=(way, size, results))
            process.start()
            found.append(results.get())
            process.join()
        (slow, slow_memory, slow_loss, slow_grad), (fast, fast_memory, fast_loss, fast_grad) = found
        print(f'{IMAGES} images of {size[0]}x{size[1]}, {CHANNELS} channels, {PAIRS} pairs')
        print(f'  upsample, then index  {slow * 1000:7.0f} ms, {slow_memory:6.0f} MB above the inputs')
        print(f'  read at the pairs     {fast * 1000:7.0f} ms, {fast_memory:6.0f} MB above the inputs')
        print(f'  {slow / fast:.1f} times faster, {slow_memory / fast_memory:.1f} times less memory')
        worst = abs(slow_grad - fast_grad).max() / abs(slow_grad).max()
        print(f'  loss {slow_loss:.6f} and {fast_loss:.6f}; largest difference of a gradient: {worst:.1e} of its peak')


if __name__ == '__main__':
    main()
