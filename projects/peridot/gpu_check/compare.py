"""Comparison of the same computation on the CPU and on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from peridot.gpu_check.checks import Differs

Tensors = dict[str, Tensor]


@dataclass
class Case:
    """A computation that is run on both devices.

    Attributes:
        run: Called with the module and the inputs, both on one device; gives tensors by name.
        inputs: On the CPU. Those that require a gradient get one.
        module: Its parameters get gradients.
        values: Largest relative difference of floating-point results, see `relative_difference`.
        gradients: Largest relative length of the difference of a gradient, see `relative_length`: where a rounding
            switches a ReLU or a maximum, single entries change a lot.
        unequal: Largest ratio of integers and booleans that differ: a place on the border of a cell may fall to
            either side.
    """

    run: Callable[[nn.Module, Tensors], Tensors]
    inputs: Tensors = field(default_factory=dict)
    module: nn.Module = field(default_factory=nn.Identity)
    values: float = 1e-5
    gradients: float = 1e-4
    unequal: float = 0.0


def compare(case: Case, device: str) -> dict:
    """Run a case on the CPU and on the device, in float32 without TF32.

    Returns:
        Largest differences: `values`, `gradients`, `unequal`, as far as there are such results.

    Raises:
        Differs: One of them exceeds the limit of the case.
    """
    with tf32(False):
        ours, reference = evaluate(case, device), evaluate(case, 'cpu')
    limits = dict(values=case.values, gradients=case.gradients, unequal=case.unequal)
    found, worst = {}, {}
    for name, value in reference.items():
        kind = _kind(name, value)
        difference = MEASURES[kind](ours[name], value)
        if difference >= found.get(kind, 0.0):
            found[kind], worst[kind] = difference, name
    check_limits(found, limits, worst)
    return found


def check_limits(found: Mapping[str, float], limits: Mapping[str, float], names: Mapping[str, str] | None = None):
    """Refuse differences beyond their limits.

    Args:
        found: Differences by kind.
        limits: Limit of each kind.
        names: What differs most, for the error.

    Raises:
        Differs: Naming all that exceed their limits.
    """
    names = names or {}
    beyond = [
        f'{kind} differ by {difference:.2g}{f" ({names[kind]})" if kind in names else ""}, allowed {limits[kind]:.2g}'
        for kind, difference in found.items()
        if not difference <= limits[kind]
    ]
    if beyond:
        raise Differs('; '.join(beyond), {**found, 'allowed': {kind: limits[kind] for kind in found}})


def evaluate(case: Case, device: str) -> Tensors:
    """Results of a case on a device and, as 'gradient of NAME', its gradients in a fixed direction; on the CPU."""
    module = copy.deepcopy(case.module).to(device)
    inputs = {name: value.detach().to(device) for name, value in case.inputs.items()}
    leaves = {name: inputs[name].requires_grad_() for name, value in case.inputs.items() if value.requires_grad}
    leaves |= {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    results = case.run(module, inputs)
    total = directed_sum(results)
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if total.requires_grad else ()
    results |= {f'gradient of {name}': g for name, g in zip(leaves, gradients) if g is not None}
    return {name: value.detach().cpu() for name, value in results.items()}


def directed_sum(results: Tensors) -> Tensor:
    """Sum of all differentiable results, each times random numbers that are the same on all devices."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(())
    for value in results.values():
        if value.requires_grad:
            direction = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
            total = total.to(value.device) + (value * direction).sum()
    return total


def relative_difference(ours: Tensor, reference: Tensor) -> float:
    """Largest difference in relation to the largest number of the reference; infinite unless ours is finite.

    Args:
        ours: Float, of any device.
        reference: Float of the same shape.
    """
    return _relative(ours, reference, float('inf'))


def relative_length(ours: Tensor, reference: Tensor) -> float:
    """Length of the difference in relation to that of the reference; infinite unless ours is finite.

    Args:
        ours: Float, of any device.
        reference: Float of the same shape.
    """
    return _relative(ours, reference, 2)


def _relative(ours: Tensor, reference: Tensor, order: float) -> float:
    """Norm of an order of the difference in relation to that of the reference."""
    if ours.shape != reference.shape or not ours.isfinite().all():
        return float('inf')
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    if not ours.numel():
        return 0.0
    difference, size = (torch.linalg.vector_norm(value, order) for value in (ours - reference, reference))
    return float(difference / size.clamp(min=1e-30))


def ratio_unequal(ours: Tensor, reference: Tensor) -> float:
    """Ratio of the entries that are not equal."""
    if ours.shape != reference.shape:
        return float('inf')
    return float((ours != reference).double().mean()) if reference.numel() else 0.0


MEASURES = dict(values=relative_difference, gradients=relative_length, unequal=ratio_unequal)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products, convolutions and sparse convolutions inside the block."""
    from spconv import constants

    switches = [(torch.backends.cuda.matmul, 'allow_tf32'), (torch.backends.cudnn, 'allow_tf32')]
    switches.append((constants, 'SPCONV_ALLOW_TF32'))
    before = [getattr(place, name) for place, name in switches]
    try:
        for place, name in switches:
            setattr(place, name, allowed)
        yield
    finally:
        for (place, name), value in zip(switches, before):
            setattr(place, name, value)


def _kind(name: str, value: Tensor) -> str:
    if not value.is_floating_point():
        return 'unequal'
    return 'gradients' if name.startswith('gradient of ') else 'values'
