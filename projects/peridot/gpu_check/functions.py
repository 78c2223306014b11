"""Objectives, students, teachers and functions: values and gradients on the device against the CPU.

Where a function draws at random it is asked for all there is (objectives), or its frequencies are compared (`draws`).
Everything else gets the same inputs on both devices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from peridot.evaluation.linear_probe import fit_linear_probe
from peridot.gpu_check import geometry, objectives
from peridot.gpu_check.checks import Checks, Differs, Setup
from peridot.gpu_check.compare import Case, compare, tf32
from peridot.gpu_check.draws import DRAWS, compare_draws
from peridot.gpu_check.networks import makers

# part of the rows that two fits of a linear probe must classify alike
AGREEMENT = 0.99


def checks(setup: Setup) -> Checks:
    """Quick ones first: networks take the CPU seconds."""
    for room in (objectives, geometry):
        for name, case in room.cases(setup.small).items():
            yield name, partial(compare, case, setup.device)
    for name in DRAWS:
        yield f'draws of {name}', partial(compare_draws, name, setup.device, 20 if setup.small else 200)
    yield 'linear probe', partial(compare_probes, setup.device, 500 if setup.small else 20_000)
    for name, make in makers(setup).items():
        yield name, partial(_compare_made, make, setup.device)


def _compare_made(make: Callable[[], Case], device: str) -> dict:
    return compare(make(), device)


def compare_probes(device: str, rows: int) -> dict:
    """Fit a linear probe on both devices, with the same initial weights and order of rows.

    Returns:
        `agreement`, part of the rows that both classify alike.

    Raises:
        Differs: It is below `AGREEMENT`.
    """
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(rows, 32, generator=generator))
    labels = (features @ torch.randn(32, 8, generator=generator)).argmax(1)
    predicted = []
    with tf32(False):
        for place in (device, 'cpu'):
            own = features.to(place)
            probe = fit_linear_probe(own, labels.to(place), 8, epochs=6)
            predicted.append(probe(own).argmax(1).cpu())
    agreement = float((predicted[0] == predicted[1]).float().mean())
    if agreement < AGREEMENT:
        raise Differs(
            f'probes agree on {agreement:.1%} of the rows, expected {AGREEMENT:.0%}', dict(agreement=agreement)
        )
    return dict(agreement=agreement)
