"""Weakly-supervised contrastive loss."""

from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import (
    MAX_LABELS,
    density_category_sampling,
    histogram,
    range_bins,
    sample_uniformly,
    weakly_supervised_contrastive,
)
from peridot.models.objectives.contrast import Contrast
from peridot.registry import MODELS


@MODELS.register_module()
class WeaklySupervisedContrast(Contrast):
    """A point's embedding should be nearer to pixels of its own weak class than to others: OLIVINE's L_sup.

    Pairs are drawn evenly over horizontal range and weak class, so that neither the dense near field nor
    frequent classes crowd out the rest (density- and category-aware sampling).

    Args:
        head: Projection head.
        num_pairs: Pairs drawn a step; fewer if the batch has fewer with a label.
        reduction: 'sup_in' sums positives inside the logarithm (published results), 'sup_out' averages
            outside; their magnitudes differ, do not swap them without tuning `loss_weight`.
        sampling: 'density_category' or 'uniform'.
        range_bin: Width in meters of the range bins of the density.
        **contrast: See `Contrast`.
    """

    def __init__(
        self,
        head: str = 'semantic',
        num_pairs: int = 4096,
        reduction: str = 'sup_in',
        sampling: str = 'density_category',
        range_bin: float = 0.1,
        **contrast,
    ) -> None:
        super().__init__(head, **contrast)
        if reduction not in ('sup_in', 'sup_out'):
            raise ConfigError(f"WeaklySupervisedContrast: reduction={reduction!r}, set 'sup_in' or 'sup_out'")
        if sampling not in ('density_category', 'uniform'):
            raise ConfigError(f"WeaklySupervisedContrast: sampling={sampling!r}, set 'density_category' or 'uniform'")
        self.num_pairs = num_pairs
        self.reduction = reduction
        self.sampling = sampling
        self.range_bin = range_bin

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `pairs` drawn; `classes`, how many weak classes are among them.
        """
        index, labels = batch.labeled_pairs
        drawn = self._draw(batch, index, labels)
        index, labels = index[drawn], labels[drawn]
        logged = {'pairs': batch.log(len(index)), 'classes': batch.log((histogram(labels, MAX_LABELS) > 0).sum())}
        if self.can_skip(len(index)):
            return {'loss': batch.log(0), **logged}
        k, q = batch.embed(self.head, index)
        loss = weakly_supervised_contrastive(k, q, labels, self.temperature, self.reduction, self.gather_negatives)
        return {'loss': self.loss_weight * loss, **logged}

    def _draw(self, batch: EncodedBatch, index: Tensor, labels: Tensor) -> Tensor:
        """Rows of `index` (P',) to contrast."""
        if self.sampling == 'uniform':
            return sample_uniformly(len(index), self.num_pairs, batch.generator, batch.device)
        bins = range_bins(batch.xyz(index), self.range_bin)
        return density_category_sampling(bins, labels, self.num_pairs, batch.generator)
