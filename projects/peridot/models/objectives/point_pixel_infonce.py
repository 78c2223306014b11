"""Point-to-pixel InfoNCE."""

from torch import Tensor

from peridot.models.batch import EncodedBatch
from peridot.models.functional import sample_uniformly
from peridot.models.objectives.contrast import Contrast
from peridot.registry import MODELS


@MODELS.register_module()
class PointPixelInfoNCE(Contrast):
    """A point's embedding should find the embedding of its pixel among those of the other pairs.

    PPKT's loss as SLidR re-implemented it, and OLIVINE's L_PPNCE: pairs drawn uniformly without replacement
    from the whole batch of a process, points as anchors, pixels of the other drawn pairs as negatives.

    Args:
        head: Projection head.
        num_pairs: Pairs drawn a step; fewer if the batch has fewer.
        **contrast: See `Contrast`.
    """

    def __init__(self, head: str = 'instance', num_pairs: int = 4096, **contrast) -> None:
        super().__init__(head, **contrast)
        self.num_pairs = num_pairs

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `accuracy`, the ratio of points whose own pixel is the most similar; `pairs` drawn.
        """
        index = sample_uniformly(batch.num_pairs, self.num_pairs, batch.generator, batch.device)
        skip = self.can_skip(len(index))
        result = self.nothing(batch) if skip else self.info_nce(*batch.embed(self.head, index))
        return {**result, 'pairs': batch.log(len(index))}
