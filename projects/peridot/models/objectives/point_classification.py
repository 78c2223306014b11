"""Supervision by the classes of points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.errors import ConfigError, DataError
from peridot.models.batch import EncodedBatch
from peridot.models.objectives.objective import Objective
from peridot.registry import MODELS


@MODELS.register_module()
class PointClassification(Objective):
    """The feature of a point should tell its class: the ceiling that pre-training without labels is measured against.

    With logits of the labeled points of a process, cross-entropy and the Lovasz extension of the Jaccard index, both
    means (over the points, and over the classes present):

        L = CE + Lovasz(softmax)

    Berman et al., "The Lovasz-Softmax loss", CVPR 2018; the loss of SLidR's and OLIVINE's fine-tuning.

    Args:
        head: Head that gives the logits, e.g. `peridot.LatentHead` with as many channels as there are classes.
        ignore_index: Label of points without a class, that of the dataset.
    """

    def __init__(self, head: str = 'classes', ignore_index: int = 16) -> None:
        super().__init__(head)
        self.ignore_index = ignore_index
        self.lovasz = MODELS.build(dict(type='mmdet3d.LovaszLoss', reduction='none'))

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Returns:
            `loss_ce`; `loss_lovasz`; `accuracy` of the labeled points; `points`, how many have a label.

        Raises:
            ConfigError: The batch has no labels.
            DataError: A label is none of the classes.
        """
        if batch.labels is None:
            raise ConfigError(
                'the batch has no classes of points: add dict(type="peridot.LoadPointLabels") to the pipeline after '
                'LoadPoints'
            )
        rows = (batch.labels != self.ignore_index).nonzero()[:, 0]
        if batch.student.inside is not None:
            rows = rows[batch.student.inside[rows]]
        logits, labels = batch.embed_points(self.head, rows).float(), batch.labels[rows]
        low, high = torch.stack(labels.aminmax()).tolist() if len(labels) else (0, 0)
        if low < 0 or high >= logits.shape[1]:
            raise DataError(
                f'classes of points reach from {low} to {high}, but the head {self.head!r} has {logits.shape[1]}: set '
                'its channels, or ignore_index'
            )
        right = (logits.argmax(1) == labels).float().sum() / max(len(labels), 1)
        logged = dict(accuracy=batch.log(right), points=batch.log(len(labels)))
        if not len(labels):
            return dict(loss_ce=logits.sum(), loss_lovasz=logits.sum(), **logged)
        return dict(loss_ce=F.cross_entropy(logits, labels), loss_lovasz=self.lovasz(logits, labels), **logged)
