"""Walks over what is nested: settings of a config, and datasets inside wrappers."""

from collections.abc import Iterator
from typing import Any


def dicts_of(settings: Any) -> Iterator[dict]:
    """All dicts of nested settings, the outer ones first; each may be changed before the walk goes into it.

    Args:
        settings: Dicts, lists and tuples in each other; anything else has no dicts.
    """
    if isinstance(settings, dict):
        yield settings
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for item in settings:
            yield from dicts_of(item)


def innermost(dataset: Any) -> list:
    """Datasets that read their data themselves, in order.

    Args:
        dataset: One of them, or a wrapper with `datasets` (concatenation) or `dataset` (repetition).
    """
    if hasattr(dataset, 'datasets'):
        return [part for item in dataset.datasets for part in innermost(item)]
    # a `PairedDataset` keeps a name there
    if hasattr(dataset, 'dataset') and not isinstance(dataset.dataset, (str, type(None))):
        return innermost(dataset.dataset)
    return [dataset]
