"""Von Mises-Fisher distribution on the unit sphere, stable in float32 at any concentration."""

import math

import torch
from torch import Tensor

RESULTANT_MARGIN = 1e-6  # smallest 1 - R^2 that the concentration is computed from


def vmf_log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """log C_D(kappa) of the density C_D(kappa) exp(kappa mu.x) on the unit sphere of R^D:

        log C_D = (D/2 - 1) log kappa - (D/2) log 2 pi - log I_{D/2-1}(kappa)

    The modified Bessel function I comes from Debye's expansion (Abramowitz and Stegun 9.7.7) with four terms. Neither I
    nor its exponentially scaled form is ever built: I_31(1) is e^-100 and I_31(1e4) is e^9990. The absolute error is
    below 1e-8 from D = 64 on, 1e-7 from D = 32, 1e-4 from D = 8. The logarithms of kappa cancel analytically, so
    kappa = 0 gives the uniform density lgamma(D/2) - log 2 - (D/2) log pi.

    Args:
        kappa: Float of any shape, >= 0.
        dim: D, at least 4.

    Returns:
        Same shape and dtype.
    """
    if dim < 4:
        raise ValueError(f'the expansion needs at least 4 dimensions, not {dim}')
    order = dim / 2 - 1
    log_c = order * math.log(order) + _debye_remainder(order, kappa.double()) - dim / 2 * math.log(2 * math.pi)
    return log_c.to(kappa.dtype)


def vmf_concentration(resultant: Tensor, dim: int) -> Tensor:
    """Concentration of unit vectors whose mean has length R: kappa = R (D - R^2) / (1 - R^2).

    Banerjee et al., Clustering on the unit hypersphere using von Mises-Fisher distributions, eq. 4.4.
    1 - R^2 is held at 1e-6 or more: R = 1 gives a large number instead of infinity.

    Args:
        resultant: R in [0, 1], Float of any shape.
        dim: D.
    """
    squared = resultant.square()
    return resultant * (dim - squared) / (1 - squared).clamp(min=RESULTANT_MARGIN)


def _debye_remainder(order: float, x: Tensor) -> Tensor:
    """order * log(x / order) - log I_order(x) for float64 x >= 0: finite and smooth down to x = 0."""
    root = torch.hypot(torch.ones_like(x), x / order)
    t = 1 / root
    s = t.square()
    u1 = t * (3 - 5 * s) / 24
    u2 = s * (81 - 462 * s + 385 * s**2) / 1152
    u3 = t * s * (30375 - 369603 * s + 765765 * s**2 - 425425 * s**3) / 414720
    u4 = s**2 * (4465125 - 94121676 * s + 349922430 * s**2 - 446185740 * s**3 + 185910725 * s**4) / 39813120
    series = u1 / order + u2 / order**2 + u3 / order**3 + u4 / order**4
    exponent = order * (root - (1 + root).log())
    return 0.5 * math.log(2 * math.pi * order) - exponent - 0.5 * t.log() - torch.log1p(series)
