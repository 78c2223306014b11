"""Class-balanced sampling fails where a class has no sample.

Broken: mmdet3d's `CBGSDataset`, around the training set of every CenterPoint, divides by the number of samples of
each class: `ZeroDivisionError` with a small fraction of the labels or with few scenes.
Versions: mmdet3d 1.1 to 1.4.
Detected: the error.
Repair: classes without a sample are left out of the balance, the others get as many as before.
Delete when: mmdet3d's `CBGSDataset` accepts a class without samples.
"""

import functools
from types import ModuleType

import numpy as np

from .records import note


def balanced_indices(samples: list[list[int]]) -> list[int]:
    """Draw the same number of samples of every class that has some.

    Args:
        samples: Indices of the samples of each class.
    """
    count = sum(map(len, samples)) // len(samples)
    return [index for own in samples if own for index in np.random.choice(own, count).tolist()]


def repair(module: ModuleType) -> None:
    """Repair the wrapper of mmdet3d.datasets.dataset_wrappers."""
    wrapper = module.CBGSDataset
    original = wrapper._get_sample_indices

    @functools.wraps(original)
    def sample_indices(self, dataset) -> list[int]:
        """Indices as upstream draws them, or without the classes that have none."""
        try:
            return original(self, dataset)
        except ZeroDivisionError:
            samples = [[] for _ in self.metainfo['classes']]
            for index in range(len(dataset)):
                for category in dataset.get_cat_ids(index):
                    if category != -1:
                        samples[category].append(index)
            return balanced_indices(samples)

    wrapper._get_sample_indices = sample_indices
    note('cbgs', 'CBGSDataset leaves classes without samples out of its balance')
