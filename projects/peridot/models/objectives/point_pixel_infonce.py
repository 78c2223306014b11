"""Point-to-pixel InfoNCE."""

from torch import Tensor

from peridot.models.functional import sample_uniformly
from peridot.models.objectives.contrast import Contrast
from peridot.models.step import StepContext
from peridot.registry import MODELS


@MODELS.register_module()
class PointPixelInfoNCE(Contrast):
    """A point's embedding shall find the embedding of its pixel among those of the other pairs.

    PPKT's loss as SLidR re-implemented it, and OLIVINE's L_PPNCE: pairs drawn uniformly without replacement
    from the whole batch of a process, points as anchors, pixels of the other drawn pairs as negatives.

    Args:
        head: Projection head.
        num_pairs: Pairs drawn a step; fewer where the batch has fewer.
        **contrast: See `Contrast`.
    """

    def __init__(self, head: str = 'instance', num_pairs: int = 4096, **contrast) -> None:
        super().__init__(head, **contrast)
        self.num_pairs = num_pairs

    def forward(self, step: StepContext) -> dict[str, Tensor]:
        """Compute the loss of a step.

        Returns:
            `loss`; `accuracy`, the share of points whose own pixel is the most similar; `pairs` drawn.
        """
        index = sample_uniformly(step.num_pairs, self.num_pairs, step.generator, step.device)
        result = self.info_nce(step, len(index), lambda: step.embed(self.head, index))
        return {**result, 'pairs': step.graph_zero().detach() + len(index)}
