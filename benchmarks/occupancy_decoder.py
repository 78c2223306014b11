#!/usr/bin/env python3
"""ALSO's decoder step against concatenated inputs for every pair: time, peak memory, agreement.

One scan's worth: 16,384 supports with latent vectors of 128 channels and 160,000 pairs, forward and backward, each way
in a process of its own on one core.
"""

import multiprocessing
import resource
import time

import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
import torch.nn.functional as F
from peridot.models.objectives.occupancy import OccupancyDecoder

SUPPORTS, PAIRS, CHANNELS, REPEATS = 16_384, 160_000, 128, 5


def make_inputs() -> dict:
    """Latent vectors, pairs and targets."""
    g = torch.Generator().manual_seed(0)
    return dict(
        latents=torch.randn(SUPPORTS, CHANNELS, generator=g).requires_grad_(),
        support=torch.randint(0, SUPPORTS, (PAIRS,), generator=g).sort().values,
        offset=torch.rand(PAIRS, 3, generator=g) * 2 - 1,
        occupied=(torch.rand(PAIRS, generator=g) < 0.3).float(),
        intensity=torch.rand(PAIRS, generator=g),
    )


def straightforward(decoder: OccupancyDecoder, latents, support, offset) -> torch.Tensor:
    """131 channels for every pair, layer by layer."""
    x = decoder.fc_in(torch.cat([latents[support], offset], 1))
    for layer in decoder.mlp_layers:
        x = layer(F.relu(x))
    return decoder.fc_out(x)


def ours(decoder: OccupancyDecoder, latents, support, offset) -> torch.Tensor:
    """As `peridot.OccupancyReconstruction` computes it."""
    return decoder(latents, support, offset)


def measure(way, results) -> None:
    """Best seconds, peak memory above the inputs in MB, loss and gradients of one way."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder, inputs = OccupancyDecoder(CHANNELS), make_inputs()
    occupied, intensity = inputs.pop('occupied'), inputs.pop('intensity')
    # libraries allocate memory of their own when they are first used
    few = {name: value[:64].detach() for name, value in inputs.items()}
    way(decoder, few['latents'].requires_grad_(), few['support'] % 64, few['offset']).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS):
        decoder.zero_grad()
        inputs['latents'].grad = None
        start = time.perf_counter()
        logit, value = way(decoder, **inputs).unbind(1)
        loss = F.binary_cross_entropy_with_logits(logit, occupied) + (value - intensity).abs().mean()
        loss.backward()
        times.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradients = [p.grad.numpy() for p in (inputs['latents'], *decoder.parameters())]
    results.put((min(times), peak, loss.item(), gradients))


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
    print(f'{slow / fast:.2f} times faster, {slow_memory / fast_memory:.1f} times less memory')
    worst = max(abs(a - b).max() / abs(a).max() for a, b in zip(slow_gradients, fast_gradients))
    print(f'losses differ by {abs(slow_loss - fast_loss):.1e}, gradients by {worst:.1e} of their peak')


if __name__ == '__main__':
    main()
