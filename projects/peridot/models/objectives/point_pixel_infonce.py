"""Point-to-pixel InfoNCE."""

from torch import Tensor, nn

from peridot.models.functional import info_nce_of, retrieval_accuracy, sample_uniformly, similarity
from peridot.models.step import StepContext
from peridot.registry import MODELS


@MODELS.register_module()
class PointPixelInfoNCE(nn.Module):
    """A point's embedding shall find the embedding of its pixel among those of the other pairs.

    PPKT's loss as SLidR re-implemented it, and OLIVINE's L_PPNCE: pairs drawn uniformly without replacement
    from the whole batch of a process, points as anchors, pixels of the other drawn pairs as negatives.

    Args:
        head: Projection head.
        num_pairs: Pairs drawn a step; fewer where the batch has fewer.
        temperature: Divisor of the similarities.
        loss_weight: Factor of the loss.
        gather_negatives: Contrast with the pixels of all processes. Loss and gradient then are those of the
            joint batch; False follows the published code, where each GPU contrasts its own pairs.
    """

    def __init__(
        self,
        head: str = 'instance',
        num_pairs: int = 4096,
        temperature: float = 0.07,
        loss_weight: float = 1.0,
        gather_negatives: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.num_pairs = num_pairs
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.gather_negatives = gather_negatives

    def forward(self, step: StepContext) -> dict[str, Tensor]:
        """Compute the loss of a step.

        Returns:
            `loss`; `accuracy`, the share of points whose own pixel is the most similar; `pairs` drawn.
        """
        index = sample_uniformly(step.num_pairs, self.num_pairs, step.generator, step.device)
        zero = step.graph_zero()
        if not len(index) and not self.gather_negatives:
            return {'loss': zero, 'accuracy': zero.detach(), 'pairs': zero.detach()}
        similar = similarity(*step.embed(self.head, index), self.temperature, self.gather_negatives)
        return {
            'loss': self.loss_weight * info_nce_of(similar) + zero,
            'accuracy': retrieval_accuracy(similar),
            'pairs': zero.detach() + len(index),
        }
