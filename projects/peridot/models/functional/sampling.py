"""Drawing pairs: uniformly, or evenly over range and weak label (OLIVINE's sampling)."""

import math

import torch
from torch import Tensor

from peridot.models.functional.counting import histogram

MAX_BINS = 1 << 16  # 6.5 km in bins of 0.1 m: all points beyond are in the last bin
MAX_LABELS = 1 << 16  # label maps have 16 bits at most


def range_bins(xyz: Tensor, size: float) -> Tensor:
    """Bin floor(sqrt(x^2 + y^2) / size) of every point's horizontal range.

    Args:
        xyz: Float (N, >=2), x, y in meters. NaN goes to the first bin, infinity to the last.
        size: Bin width in meters.

    Returns:
        Int64 (N,).
    """
    ranges = torch.hypot(xyz[:, 0].float(), xyz[:, 1].float())
    return (ranges / size).nan_to_num(nan=0.0).floor().clamp(max=MAX_BINS - 1).long()


def range_density(bins: Tensor) -> Tensor:
    """Gaussian kernel density over integer range bins, at every element:

        d(r) = 1 / (N h sqrt(2 pi)) sum_j exp(-((r - r_j) / h)^2 / 2),    h = 1.06 std(r) N^(-1/5)

    Elements of a bin have the same density, so the sum over N elements is one over U bins, weighted by their
    counts: a kernel matrix (U, U) times the histogram, which for evenly spaced bins is a convolution.

    Args:
        bins: Int64 (N,), range bins below `MAX_BINS`, see `range_bins`.

    Returns:
        Float32 (N,); 1 if the density is not defined, that is with fewer than two different ranges.
    """
    ones = torch.ones(len(bins), device=bins.device)
    if len(bins) < 2:
        return ones
    bins = bins.clamp(max=MAX_BINS - 1)
    counts = histogram(bins, MAX_BINS).double()
    place = torch.arange(len(counts), dtype=counts.dtype, device=bins.device)
    mean = (counts * place).sum() / len(bins)
    std = ((counts * (place - mean).square()).sum() / (len(bins) - 1)).sqrt()
    bandwidth = (1.06 * std * len(bins) ** -0.2).clamp(min=torch.finfo(std.dtype).tiny)
    kernel = torch.exp(-0.5 * (place / bandwidth).square())
    density = _convolve_even(counts, kernel) / (len(bins) * bandwidth * math.sqrt(2 * math.pi))
    return torch.where(std > 0, density.float()[bins], ones)


def density_category_weights(bins: Tensor, labels: Tensor) -> Tensor:
    """Sampling weight 1 / (d(r_i) n_{y_i}): inverse range density by inverse frequency of the label.

    Args:
        bins: Int64 (N,), range bins below `MAX_BINS`.
        labels: Int64 (N,), labels from 0 to `MAX_LABELS` - 1.

    Returns:
        Float32 (N,), not normalized.
    """
    if not len(bins):
        return torch.ones(0, device=bins.device)
    return 1 / (range_density(bins) * histogram(labels, MAX_LABELS)[labels])


def density_category_sampling(bins: Tensor, labels: Tensor, num_samples: int, generator) -> Tensor:
    """Draw elements without replacement with the probabilities of `density_category_weights`.

    Args:
        bins: Int64 (N,), range bins.
        labels: Int64 (N,), labels, >= 0.
        num_samples: Elements to draw.
        generator: `torch.Generator` on the device of `bins`.

    Returns:
        Int64 (min(num_samples, N),) indices.
    """
    # all weights are positive
    return _largest(density_category_weights(bins, labels).log(), min(num_samples, len(bins)), generator)


def sample_without_replacement(weights: Tensor, num_samples: int, generator) -> Tensor:
    """Successive draws without replacement, probabilities proportional to the weights.

    Takes the largest log w_i + Gumbel noise, which has the same distribution as drawing one after the other
    and no limit on the number of categories (`torch.multinomial` ends at 2^24). Elements whose weight is zero,
    negative or not finite are never drawn.

    Args:
        weights: Float (N,), weights, not necessarily normalized.
        num_samples: Elements to draw.
        generator: `torch.Generator` on the device of the weights.

    Returns:
        Int64 indices; fewer than `num_samples` if fewer can be drawn.
    """
    usable = weights.isfinite() & (weights > 0)
    log_weights = torch.where(usable, weights, 0.0).log()
    return _largest(log_weights, min(num_samples, int(usable.sum())), generator)


def _largest(log_weights: Tensor, number: int, generator) -> Tensor:
    """Indices (number,) of the largest log weights plus Gumbel noise."""
    # the negative logarithm of an exponential variable
    noise = torch.empty_like(log_weights).exponential_(generator=generator).log()
    return (log_weights - noise).topk(number, sorted=False).indices


def sample_uniformly(size: int, num_samples: int, generator, device: torch.device) -> Tensor:
    """min(num_samples, size) different indices below `size`, all sets equally likely; int64."""
    return torch.randperm(size, generator=generator, device=device)[:num_samples]


def _convolve_even(signal: Tensor, kernel: Tensor) -> Tensor:
    """sum_j kernel[|i - j|] signal[j] for float64 (U,) and (U,).

    In double precision the round-off of the FFT, 1e-16 of the largest value, stays far below the smallest
    density that is read: that of a bin with at least one element.
    """
    size = len(signal)
    length = 2 * size
    mirrored = torch.cat([kernel, kernel.new_zeros(1), kernel[1:].flip(0)])
    spectrum = torch.fft.rfft(signal, length) * torch.fft.rfft(mirrored, length)
    return torch.fft.irfft(spectrum, length)[:size]
