"""Weak labels of a step's pairs, checked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from peridot.errors import ConfigError, DataError
from peridot.models.step import StepContext


def labeled_pairs(step: StepContext, ignore_labels: Sequence[int], num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Rows and labels of the pairs whose weak label is not ignored.

    Args:
        step: The current step.
        ignore_labels: Values to leave out.
        num_classes: Every other value must be below it; None leaves values unchecked.

    Returns:
        Int64 (P',) rows of `step.pairs` and their int64 labels.

    Raises:
        ConfigError: the pairs carry no labels.
        DataError: a label lies outside the classes.
    """
    if 'label' not in step.pairs:
        raise ConfigError(
            'the pairs have no weak labels: load label maps in the pipeline (tools/make_weak_labels.py makes '
            'them) or take the objectives that need labels out of model.objectives'
        )
    labels = step.pairs.label
    ignored = torch.tensor(tuple(ignore_labels), dtype=labels.dtype, device=labels.device)
    index = torch.isin(labels, ignored, invert=True).nonzero()[:, 0]
    labels = labels[index]
    if num_classes is not None and len(labels):
        low, high = (int(v) for v in labels.aminmax())
        if low < 0 or high >= num_classes:
            raise DataError(
                f'weak label {low if low < 0 else high} is none of the {num_classes} classes: remake the '
                "maps with tools/make_weak_labels.py or add the value to the objective's ignore_labels"
            )
    return index, labels
