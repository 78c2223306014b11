#!/usr/bin/env python3
"""SLidR's loss against the straightforward way: dense maps, one-hot sparse products. Time, peak memory, agreement.

Batch 2 x 6 cameras of 224x416 pixels, features at stride 4, 64 channels, 150 superpixels an image, 60,000 pairs,
forward and backward, each way in a process of its own.
"""

import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
import torch.nn.functional as F
from peridot.models.functional import group_mean, info_nce, similarity, superpixel_mean

IMAGES, CHANNELS, SUPERPIXELS, PAIRS, POINTS = 12, 64, 150, 60_000, 50_000
HEIGHT, WIDTH, STRIDE, TEMPERATURE = 224, 416, 4, 0.07
REPEATS = 5


def make_inputs() -> dict:
    """A teacher's projected map, point embeddings, superpixels (a grid with ragged borders) and pairs."""
    g = torch.Generator().manual_seed(0)
    rows = (torch.arange(HEIGHT)[:, None] + torch.randint(-3, 4, (IMAGES, HEIGHT, WIDTH), generator=g)).clamp(0, 223)
    columns = (torch.arange(WIDTH) + torch.randint(-3, 4, (IMAGES, HEIGHT, WIDTH), generator=g)).clamp(0, 415)
    camera = torch.randint(0, IMAGES, (PAIRS,), generator=g)
    pixel = torch.rand(PAIRS, 2, generator=g) * torch.tensor([HEIGHT, WIDTH])
    points = F.normalize(torch.randn(POINTS, CHANNELS, generator=g), dim=1)
    low = torch.randn(IMAGES, HEIGHT // STRIDE, WIDTH // STRIDE, CHANNELS, generator=g).permute(0, 3, 1, 2)
    return dict(
        points=points.requires_grad_(),
        feature_map=low.requires_grad_(),
        ids=rows * 10 // HEIGHT * 15 + columns * 15 // WIDTH,
        point=torch.randint(0, POINTS, (PAIRS,), generator=g),
        camera=camera,
        pixel=pixel.long(),
    )


def straightforward(points, feature_map, ids, point, camera, pixel) -> torch.Tensor:
    """Upsampled maps of all images; pooling as products with sparse one-hot matrices."""
    dense = F.interpolate(feature_map, (HEIGHT, WIDTH), mode='bilinear', align_corners=True)
    dense = F.normalize(dense, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    own = (torch.arange(IMAGES)[:, None, None] * SUPERPIXELS + ids).flatten()
    of_pair = camera * SUPERPIXELS + ids[camera, pixel[:, 0], pixel[:, 1]]
    k = _one_hot(of_pair) @ points[point]
    q = _one_hot(own) @ dense
    k_count, q_count = (torch.bincount(g, minlength=IMAGES * SUPERPIXELS)[:, None] for g in (of_pair, own))
    filled = k_count[:, 0] > 0
    k, q = (k / (k_count + 1e-6))[filled], (q / (q_count + 1e-6))[filled]
    return F.cross_entropy(k @ q.T / TEMPERATURE, torch.arange(len(k)))


def _one_hot(group: torch.Tensor) -> torch.Tensor:
    index = torch.stack((group, torch.arange(len(group))))
    return torch.sparse_coo_tensor(index, torch.ones(len(group)), (IMAGES * SUPERPIXELS, len(group)))


def ours(points, feature_map, ids, point, camera, pixel) -> torch.Tensor:
    """As `peridot.SuperpixelInfoNCE` computes it."""
    of_pair = camera * SUPERPIXELS + ids[camera, pixel[:, 0], pixel[:, 1]]
    k, counts = group_mean(points[point], of_pair, IMAGES * SUPERPIXELS)
    q, _ = superpixel_mean(feature_map, ids, SUPERPIXELS, True)
    filled = counts.nonzero()[:, 0]
    return info_nce(similarity(k[filled], q.flatten(0, 1)[filled], TEMPERATURE))


def measure(way, results) -> None:
    """Median seconds, peak memory above the inputs in MB, loss and gradients of one way."""
    inputs = make_inputs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS):
        inputs['points'].grad = inputs['feature_map'].grad = None
        start = time.perf_counter()
        loss = way(**inputs)
        loss.backward()
        times.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradients = [inputs[name].grad.numpy() for name in ('points', 'feature_map')]
    results.put((sorted(times)[REPEATS // 2], peak, loss.item(), gradients))


def main() -> None:
    """Measure both ways, print times, memory and differences."""
    context = multiprocessing.get_context('spawn')
    found = []
    for way in (straightforward, ours):
        results = context.Queue()
        process = context.Process(target=measure, args=(way, results))
        process.start()
        found.append(results.get())
        process.join()
    (slow, slow_memory, slow_loss, slow_gradients), (fast, fast_memory, fast_loss, fast_gradients) = found
    print(f'straightforward {slow * 1000:7.0f} ms, {slow_memory:6.0f} MB above the inputs')
    print(f'ours            {fast * 1000:7.0f} ms, {fast_memory:6.0f} MB above the inputs')
    print(f'{slow / fast:.2f} times faster, {fast_memory / slow_memory:.2f} of the memory')
    worst = max(abs(a - b).max() / abs(a).max() for a, b in zip(slow_gradients, fast_gradients))
    print(
        f'loss {slow_loss:.6f} and {fast_loss:.6f}; largest difference of a gradient, relative to its peak: {worst:.1e}'
    )


if __name__ == '__main__':
    main()
