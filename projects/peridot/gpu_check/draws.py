"""Random draws: generators differ by device, so that sizes and frequencies are compared, not single draws."""

from __future__ import annotations

import torch
from torch import Tensor

from peridot.gpu_check.checks import Differs
from peridot.models import functional

ELEMENTS = 400
DRAWN = 40
GROUPS = 4
# standard deviations that a frequency may lie off
SIGMA = 5.0


def _uniform(generator: torch.Generator, device: str) -> Tensor:
    return functional.sample_uniformly(ELEMENTS, DRAWN, generator, torch.device(device))


def _weighted(generator: torch.Generator, device: str) -> Tensor:
    weights = 1.0 + torch.arange(ELEMENTS, device=device) % GROUPS
    return functional.sample_without_replacement(weights, DRAWN, generator)


def _density(generator: torch.Generator, device: str) -> Tensor:
    rows = torch.arange(ELEMENTS, device=device)
    return functional.density_category_sampling(rows**2 // 500, rows % GROUPS, DRAWN, generator)


def _neighbors(generator: torch.Generator, device: str) -> Tensor:
    query = torch.arange(4, device=device).repeat_interleave(ELEMENTS // 4)
    return functional.draw_neighbors(query, 4, DRAWN // 4, generator)


DRAWS = {
    'sample_uniformly': _uniform,
    'sample_without_replacement': _weighted,
    'density_category_sampling': _density,
    'draw_neighbors': _neighbors,
}


def compare_draws(name: str, device: str, repeats: int) -> dict:
    """Draw on both devices and compare how often each of some groups of elements comes.

    Returns:
        `sigma`, the largest difference of two frequencies in standard deviations.

    Raises:
        Differs: It exceeds `SIGMA`, or a draw has another size or an element twice.
    """
    ours, reference = (_frequencies(name, place, repeats) for place in (device, 'cpu'))
    mean = (ours + reference) / 2
    # draws without replacement vary less than independent ones
    spread = (2 * mean * (1 - mean) / (repeats * ELEMENTS / GROUPS)).sqrt().clamp(min=1e-9)
    sigma = float(((ours - reference).abs() / spread).max())
    if not sigma <= SIGMA:
        raise Differs(f'elements are drawn {sigma:.1f} standard deviations more or less often', dict(sigma=sigma))
    return dict(sigma=sigma)


def _frequencies(name: str, device: str, repeats: int) -> Tensor:
    """Float64 (GROUPS,), part of each group's elements that is drawn."""
    generator = torch.Generator(device).manual_seed(0)
    counts = torch.zeros(ELEMENTS, dtype=torch.int64, device=device)
    for _ in range(repeats):
        drawn = DRAWS[name](generator, device)
        if len(drawn) != DRAWN or len(drawn.unique()) != DRAWN:
            raise Differs(f'{len(drawn.unique())} different elements of {len(drawn)} drawn, expected {DRAWN}', {})
        counts[drawn] += 1
    return counts.cpu().double().view(-1, GROUPS).mean(0) / repeats
