"""The training loop by epochs, which continues where a checkpoint from within an epoch was saved."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader, Sampler

from peridot.registry import LOOPS


@LOOPS.register_module()
class TrainLoop(EpochBasedTrainLoop):
    """mmengine's loop by epochs, for runs that may be interrupted anywhere.

    A resumed epoch begins with the batch after the last one of the checkpoint; the batches before are not loaded. What
    a step draws from the global generators of Python, numpy and torch (dropout) depends on the run's seed, the
    iteration and the process alone, so that a resumed run draws the same.
    """

    def run_epoch(self) -> None:
        """Iterate over what is left of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = self._iter - self._epoch * len(self.dataloader)
        for index, batch in enumerate(batches_from(self.dataloader, first), first):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Make one step with the random numbers of this iteration."""
        seed = np.random.SeedSequence([self.runner.seed, self._iter, get_rank()]).generate_state(1)[0]
        random.seed(int(seed))
        np.random.seed(seed)
        torch.manual_seed(int(seed))
        super().run_iter(idx, data_batch)


class Remainder(Sampler):
    """What a sampler yields after its first elements; its length is that of the whole.

    Args:
        sampler: Yields the whole, in the same order every time.
        start: Number of elements to leave out.
    """

    def __init__(self, sampler: Sampler, start: int) -> None:
        self.sampler = sampler
        self.start = start

    def __iter__(self) -> Iterator:
        elements = iter(self.sampler)
        for _ in range(self.start):
            next(elements, None)
        yield from elements

    def __len__(self) -> int:
        return len(self.sampler)


def batches_from(loader: DataLoader, first: int) -> Iterator:
    """Batches of a loader, beginning with number `first`; those before are not loaded."""
    batches = loader.batch_sampler
    whole = batches.sampler
    batches.sampler = Remainder(whole, first * batches.batch_size)
    try:
        yield from loader
    finally:
        batches.sampler = whole
