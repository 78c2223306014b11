"""Several datasets as one, for pre-training on all of them."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from math import floor

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from peridot.datasets.sampler import SampleKey
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS

# a dataset of n samples gets a part of the epoch proportional to n to this power
_POWERS = {None: 1.0, 'sqrt': 0.5, 'equal': 0.0}


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Several datasets one after another; their samples are batched together.

    An epoch has as many samples as the datasets together, N. Without `balance` each sample comes once, so a dataset is
    seen as often as it is large (ScaLR's joint pre-training, plain concatenation). With `balance` every dataset gets
    another part of the N: one that gets more than its size is repeated, each of its samples equally often up to one;
    one that gets less gives other samples every epoch, spread evenly over it. Which ones follows from the keys of
    `SeededSampler` alone: it is the same for any number of workers and processes.

    Args:
        datasets: Configs of the datasets, e.g. `peridot.PairedDataset`. Each has its own pipeline.
        balance: None (default), 'sqrt' (parts proportional to the square roots of the sizes) or
            'equal' (equal parts).

    Raises:
        ConfigError: `datasets` is empty, or `balance` is unknown.
        DataError: A dataset has no samples, or one is missing or damaged.
    """

    def __init__(self, datasets: Sequence[dict], balance: str | None = None) -> None:
        if not datasets:
            raise ConfigError('MixedDataset: datasets is empty, list the configs of the datasets to mix')
        if balance not in _POWERS:
            raise ConfigError(f"MixedDataset: balance={balance!r}, choose None, 'sqrt' or 'equal'")
        self.balance = balance
        self.datasets = [DATASETS.build(dataset) for dataset in datasets]
        self._ends: list[int] = []

    @property
    def metainfo(self) -> dict:
        """`dataset` ('mixed') and `datasets`, the metainfo of each."""
        return {'dataset': 'mixed', 'datasets': [dataset.metainfo for dataset in self.datasets]}

    def full_init(self) -> None:
        """Read the info files, divide the epoch among the datasets and log the parts."""
        if self._ends:
            return
        for dataset in self.datasets:
            dataset.full_init()
        sizes = [len(dataset) for dataset in self.datasets]
        for dataset, size in zip(self.datasets, sizes):
            if not size:
                raise DataError(
                    f'{dataset.ann_file} of the mix holds no sample: leave it out of `datasets`, or check `indices` '
                    'and the info file'
                )
        counts = divide_epoch(sizes, _POWERS[self.balance])
        self._ends = list(accumulate(counts))
        total = self._ends[-1]
        parts = [
            f'{dataset.metainfo["dataset"]} {count} of {size} samples ({count / total:.1%})'
            for dataset, size, count in zip(self.datasets, sizes, counts)
        ]
        print_log(f'an epoch of {total} samples: {", ".join(parts)}', 'current')

    def check_files(self) -> None:
        """Raise a DataError when the folder or info file of a dataset is missing; nothing is read."""
        for dataset in self.datasets:
            dataset.check_files()

    def check_maps(self) -> None:
        """Raise a DataError when maps that a dataset's pipeline reads are missing."""
        for dataset in self.datasets:
            dataset.check_maps()

    def __len__(self) -> int:
        self.full_init()
        return self._ends[-1]

    def __getitem__(self, key: int | SampleKey) -> dict:
        """The sample of a place in the epoch; its dataset runs its pipeline under the key's seed."""
        index, seed = key if isinstance(key, SampleKey) else (key, None)
        number, sample = self.locate(index, seed)
        return self.datasets[number][sample if seed is None else SampleKey(sample, seed)]

    def locate(self, index: int, seed: int | None = None) -> tuple[int, int]:
        """Number of the dataset that an epoch's place `index` belongs to, and which of its samples comes there.

        The `count` places of a dataset of n samples stand for stretches of length n / count of it; a place takes the
        sample at a random position of its stretch, with a seed, or the one in the middle, without.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'place {index} of an epoch of {len(self)} samples')
        number = bisect.bisect_right(self._ends, index)
        start = self._ends[number - 1] if number else 0
        count, size = self._ends[number] - start, len(self.datasets[number])
        within = 0.5 if seed is None else np.random.default_rng(seed).random()
        return number, min(floor((index - start + within) * size / count), size - 1)


def divide_epoch(sizes: Sequence[int], power: float) -> list[int]:
    """Whole numbers about proportional to sizes**power that add up to the sum of the sizes.

    Args:
        sizes: Sizes, at least 1 each.
        power: 1 gives the sizes themselves, 0 equal numbers; in between, no number is below 1.
    """
    weights = np.power(np.asarray(sizes, dtype=np.float64), power)
    exact = weights / weights.sum() * sum(sizes)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    # what rounding left over goes to the largest remainders
    left = sum(sizes) - int(counts.sum())
    counts[np.argsort(counts - exact, kind='stable')[:left]] += 1
    return counts.tolist()
