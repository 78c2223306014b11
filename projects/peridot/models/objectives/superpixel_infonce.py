"""Superpixel-driven InfoNCE."""

import torch
from torch import Tensor

from peridot.models.batch import EncodedBatch
from peridot.models.functional import group_mean, superpixel_mean
from peridot.models.objectives.contrast import Contrast
from peridot.registry import MODELS


@MODELS.register_module()
class SuperpixelInfoNCE(Contrast):
    """The mean embedding of a superpixel's points should find the mean embedding of its pixels: SLidR's loss.

    For superpixel s with points P_s (one for each pair) and pixels Q_s, with unit embeddings k and q,

        k_s = mean_{P_s} k,   q_s = mean_{Q_s} q,   L = -1/|S| sum_s log( exp(k_s.q_s / t) / sum_s' exp(k_s.q_s' / t) )

    over the superpixels S of all images of a process that hold at least one pair. All pixels of the superpixel
    count, not only those with a point. The means are not normalized again: a superpixel that mixes things has
    a short mean and so a soft target.

    Sautier et al., "Image-to-Lidar Self-Supervised Distillation for Autonomous Driving Data", CVPR 2022.

    Args:
        head: Projection head.
        superpixels: Name of the maps, in the dataset's `maps` and the pipeline's `LoadViewMaps`.
        **contrast: See `Contrast`.
    """

    def __init__(self, head: str = 'instance', superpixels: str = 'superpixels', **contrast) -> None:
        super().__init__(head, **contrast)
        self.superpixels = superpixels

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `accuracy`, the ratio of superpixels whose own image feature is the most similar;
            `superpixels`, how many hold points.
        """
        ids, num_ids = batch.view_map(self.superpixels)
        k, counts = group_mean(*self._points(batch, ids, num_ids), len(ids) * num_ids)
        filled = counts.nonzero()[:, 0]
        if self.can_skip(len(filled)):
            result = self.nothing(batch)
        else:
            q, _ = superpixel_mean(batch.project_teacher_map(self.head), ids, num_ids, batch.align_corners)
            result = self.info_nce(k[filled], q.flatten(0, 1)[filled])
        return {**result, 'superpixels': batch.log(len(filled))}

    def _points(self, batch: EncodedBatch, ids: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
        """Student embeddings (P, D) of the pairs, and the number in the batch (P,) of their superpixel, -1 for none."""
        camera = batch.pairs.camera
        row, column = batch.pairs.position.round().long().unbind(1)
        own = ids[camera, row.clamp(0, ids.shape[1] - 1), column.clamp(0, ids.shape[2] - 1)]
        embeddings = batch.embed_student(self.head, torch.arange(batch.num_pairs, device=batch.device))
        return embeddings, torch.where(own >= 0, camera * num_ids + own, -1)
