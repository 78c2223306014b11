"""Seeds that travel with the sample index, so that augmentations depend on the run's seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from peridot.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """Sample that `SeededSampler` asks the dataset for, and the seed of its augmentations."""

    index: int
    seed: int


def sample_seed(run_seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed that depends on the run's seed, the epoch and the sample alone."""
    return int(np.random.SeedSequence([run_seed, epoch, index]).generate_state(1)[0])


@contextmanager
def seeded_sample(seed: int | None) -> Iterator[None]:
    """Seed Python's, numpy's and torch's CPU generators inside the block and restore their states afterwards.

    CUDA generators are left alone: a pipeline runs on the CPU, and a forked worker must not touch CUDA.

    Args:
        seed: 32-bit seed; None changes nothing.
    """
    if seed is None:
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's `DefaultSampler` that yields `SampleKey(index, seed)` instead of a bare index.

    The seed comes from (run seed, epoch, index), so a sample is augmented the same way whatever the number of
    workers or processes, and after resuming.

    Args:
        dataset: The dataset; its `__getitem__` must accept `SampleKey` (as `PairedDataset` does).
        shuffle: Shuffle with (seed + epoch). Defaults to True.
        seed: The run's seed; agreed between the processes when None.
        round_up: Repeat samples so that all processes get the same number. Defaults to True.
    """

    def __iter__(self) -> Iterator[SampleKey]:
        """Yield this process's samples of the current epoch."""
        for index in super().__iter__():
            yield SampleKey(index, sample_seed(self.seed, self.epoch, index))
