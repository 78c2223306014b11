"""What contrastive objectives share."""

from collections.abc import Callable

from torch import Tensor, nn

from peridot.models.functional import info_nce_of, retrieval_accuracy, similarity
from peridot.models.step import StepContext


class Contrast(nn.Module):
    """Base of the objectives that contrast student embeddings with image embeddings.

    Args:
        head: Projection head.
        temperature: Divisor of the similarities.
        loss_weight: Factor of the loss.
        gather_negatives: Contrast with the image embeddings of all processes. Loss and gradient then are those of
            the joint batch; False follows the published code, where each GPU contrasts its own.
    """

    def __init__(
        self, head: str, temperature: float = 0.07, loss_weight: float = 1.0, gather_negatives: bool = False
    ) -> None:
        super().__init__()
        self.head = head
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.gather_negatives = gather_negatives

    def idle(self, anchors: int) -> bool:
        """Whether a step has nothing to contrast; other processes may need this one's part even without anchors."""
        return not anchors and not self.gather_negatives

    def info_nce(
        self, step: StepContext, anchors: int, embed: Callable[[], tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """InfoNCE of a step.

        Args:
            step: The current step.
            anchors: Number M of anchors.
            embed: Gives the (M, D) anchors and the (M, D) candidates they shall find; called unless `idle`.

        Returns:
            `loss`; `accuracy`, the share of anchors whose own candidate is the most similar.
        """
        zero = step.graph_zero()
        if self.idle(anchors):
            return {'loss': zero, 'accuracy': zero.detach()}
        similar = similarity(*embed(), self.temperature, self.gather_negatives)
        return {'loss': self.loss_weight * info_nce_of(similar) + zero, 'accuracy': retrieval_accuracy(similar)}
