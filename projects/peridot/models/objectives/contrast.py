"""Base of the contrastive objectives."""

from torch import Tensor

from peridot.models.batch import EncodedBatch
from peridot.models.functional import info_nce, retrieval_accuracy, similarity, within_groups
from peridot.models.objectives.objective import Objective


class Contrast(Objective):
    """Base of the objectives that contrast student embeddings with others, mostly of images.

    Args:
        head: Projection head.
        temperature: Divisor of the similarities.
        loss_weight: Factor of the loss.
        gather_negatives: Contrast with the candidates of all processes. Loss and gradient then are those of
            the joint batch; False follows the published code, where each GPU contrasts its own.
    """

    def __init__(
        self, head: str, temperature: float = 0.07, loss_weight: float = 1.0, gather_negatives: bool = False
    ) -> None:
        super().__init__(head)
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.gather_negatives = gather_negatives

    def can_skip(self, num_anchors: int) -> bool:
        """True if there is nothing to contrast; gathering needs this process's candidates even without anchors."""
        return not num_anchors and not self.gather_negatives

    def info_nce(self, k: Tensor, q: Tensor, group: Tensor | None = None) -> dict[str, Tensor]:
        """InfoNCE of anchors k (M, D) and the candidates q (M, D) that they should find.

        Args:
            k: Anchors.
            q: Candidates.
            group: Int64 (M,): the loss is then the mean over the groups of the InfoNCE within each.

        Returns:
            `loss`; `accuracy`, the ratio of anchors whose own candidate is the most similar.
        """
        similar = similarity(k, q, self.temperature, self.gather_negatives)
        if group is not None:
            similar = within_groups(similar, group)
        return {'loss': self.loss_weight * info_nce(similar), 'accuracy': retrieval_accuracy(similar)}

    @staticmethod
    def nothing(batch: EncodedBatch) -> dict[str, Tensor]:
        """Result of `info_nce` without anything to contrast."""
        return {'loss': batch.log(0), 'accuracy': batch.log(0)}
