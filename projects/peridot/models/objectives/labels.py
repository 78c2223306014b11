"""Weak labels of a batch's pairs, checked."""

from torch import Tensor

from peridot.errors import ConfigError, DataError
from peridot.models.batch import EncodedBatch


def labeled_pairs(batch: EncodedBatch, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Rows and labels of the pairs that have a weak label.

    Args:
        batch: The current batch.
        num_classes: Limit that every label must be below; None skips the check.

    Returns:
        Rows of `batch.pairs`, Int64 (P',), and their labels, Int64 (P',).

    Raises:
        ConfigError: The pairs carry no labels.
        DataError: A label lies outside the classes.
    """
    if 'label' not in batch.pairs:
        raise ConfigError(
            'the pairs have no weak labels: load label maps in the pipeline (tools/make_weak_labels.py makes '
            'them) or take the objectives that need labels out of model.objectives'
        )
    index = (batch.pairs.label >= 0).nonzero()[:, 0]
    labels = batch.pairs.label[index]
    if num_classes is not None and len(labels) and (high := int(labels.max())) >= num_classes:
        raise DataError(
            f'weak label {high} is none of the {num_classes} classes: remake the maps with tools/make_weak_labels.py'
        )
    return index, labels
