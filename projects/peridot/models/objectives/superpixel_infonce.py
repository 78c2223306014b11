"""Superpixel-driven InfoNCE."""

from torch import Tensor, nn

from peridot.models.functional import group_mean, info_nce_of, retrieval_accuracy, similarity, superpixel_mean
from peridot.models.step import StepContext
from peridot.registry import MODELS


@MODELS.register_module()
class SuperpixelInfoNCE(nn.Module):
    """The mean embedding of a superpixel's points shall find the mean embedding of its pixels: SLidR's loss.

    For superpixel s with points P_s (one for each pair) and pixels Q_s, with unit embeddings k and q,

        k_s = mean_{P_s} k,   q_s = mean_{Q_s} q,   L = -1/|S| sum_s log( exp(k_s.q_s / t) / sum_s' exp(k_s.q_s' / t) )

    over the superpixels S of all images of a process that hold at least one pair. All pixels of the superpixel
    count, not only those with a point. The means are not normalized again: a superpixel that mixes things has
    a short mean and so a soft target.

    Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022.

    Args:
        head: Projection head.
        superpixels: Name of the maps, as in the pipeline's `LoadViewMaps(superpixels=FOLDER)`.
        temperature: Divisor t of the similarities.
        loss_weight: Factor of the loss.
        gather_negatives: Contrast with the superpixels of all processes, see `PointPixelInfoNCE`.
    """

    def __init__(
        self,
        head: str = 'instance',
        superpixels: str = 'superpixels',
        temperature: float = 0.07,
        loss_weight: float = 1.0,
        gather_negatives: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self.superpixels = superpixels
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.gather_negatives = gather_negatives

    def forward(self, step: StepContext) -> dict[str, Tensor]:
        """Compute the loss of a step.

        Returns:
            `loss`; `accuracy`, the share of superpixels whose own image feature is the most similar;
            `superpixels`, how many hold points.
        """
        ids, num_ids = step.view_map(self.superpixels)
        k, counts = group_mean(*self._points(step, ids, num_ids), len(ids) * num_ids)
        filled = counts.nonzero()[:, 0]
        zero = step.graph_zero()
        if not len(filled) and not self.gather_negatives:
            return {'loss': zero, 'accuracy': zero.detach(), 'superpixels': zero.detach()}
        q, _ = superpixel_mean(step.project_teacher_map(self.head), ids, num_ids, step.align_corners)
        similar = similarity(k[filled], q.flatten(0, 1)[filled], self.temperature, self.gather_negatives)
        return {
            'loss': self.loss_weight * info_nce_of(similar) + zero,
            'accuracy': retrieval_accuracy(similar),
            'superpixels': zero.detach() + len(filled),
        }

    def _points(self, step: StepContext, ids: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
        """Student embeddings (P', D) of the pairs that lie in a superpixel, and its number in the batch (P',)."""
        camera = step.pairs.camera
        row, column = step.pairs.position.round().long().unbind(1)
        own = ids[camera, row.clamp(0, ids.shape[1] - 1), column.clamp(0, ids.shape[2] - 1)]
        index = (own >= 0).nonzero()[:, 0]
        return step.embed_student(self.head, index), (camera * num_ids + own)[index]
