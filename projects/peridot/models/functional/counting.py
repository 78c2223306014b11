"""Counts that a GPU makes without waiting for it: `torch.bincount` reads its largest value back to the host first."""

import torch
from torch import Tensor


def histogram(index: Tensor, size: int) -> Tensor:
    """Int64 (size,), how often each number below `size` occurs in an integer tensor without others."""
    counts = torch.zeros(size, dtype=torch.int64, device=index.device)
    index = index.flatten()
    return counts.index_add_(0, index, torch.ones_like(index, dtype=torch.int64))


def scans_of(lengths: list[int], device: torch.device) -> Tensor:
    """Int64 (N,), scan of every point of concatenated clouds of these lengths."""
    scans = torch.arange(len(lengths), device=device)
    return scans.repeat_interleave(torch.tensor(lengths, device=device), output_size=sum(lengths))
