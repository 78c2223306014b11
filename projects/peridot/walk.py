"""Walks over nested structures: settings of a config, and datasets inside wrappers."""

from collections.abc import Iterator, Mapping
from typing import Any


def dicts_of(settings: Any) -> Iterator[dict]:
    """Yield all dicts of nested settings, outer ones first; each may be changed before the walk enters it.

    Args:
        settings: Nested dicts, lists and tuples; anything else has no dicts.
    """
    if isinstance(settings, dict):
        yield settings
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for item in settings:
            yield from dicts_of(item)


def steps_of(settings: Mapping) -> Iterator[Mapping]:
    """Transforms of a pipeline, also those inside others."""
    return (step for step in dicts_of(list(settings.get('pipeline', ()))) if isinstance(step.get('type'), str))


def innermost(dataset: Any) -> list:
    """List the datasets inside wrappers, which read data themselves, in order.

    Args:
        dataset: Such a dataset, or a wrapper with `datasets` (concatenation) or `dataset` (repetition).
    """
    if hasattr(dataset, 'datasets'):
        return [part for item in dataset.datasets for part in innermost(item)]
    # a `PairedDataset` keeps a name there
    if hasattr(dataset, 'dataset') and not isinstance(dataset.dataset, (str, type(None))):
        return innermost(dataset.dataset)
    return [dataset]
