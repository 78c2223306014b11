"""Points and their lidar segments at another time."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.models.batch import EncodedBatch
from peridot.models.functional import group_mean, mean_over_processes
from peridot.models.objectives.objective import Objective
from peridot.models.objectives.superpoint_contrast import pairs_of_frames
from peridot.registry import MODELS


@MODELS.register_module()
class PointSegmentConsistency(Objective):
    """The embedding of a point should be that of its lidar segment in another frame: Seal's point-to-segment term.

    With the points P of frame f that are in a segment s(p) which has points in frame g as well,

        k_s^g = mean_{P_s^g} k,   L = 1/|P| sum_p ( 1 - cos(k_p^f, stop_gradient(k_s(p)^g)) )

    over all samples of the joint batch of all processes. Alone it has a trivial solution, so it belongs beside a
    contrast. The form is our reading of a name and a picture: the paper's training code was never released, and we
    chose the distance, the stopped gradient, the weight and that only points of the keyframe are asked.

    Liu et al., "Segment Any Point Cloud Sequences by Distilling Vision Foundation Models", NeurIPS 2023.

    Args:
        head: Projection head.
        frames: Pairs of frames, by their numbers in `Frames.frame`: that of the points, then that of the segments. A
            sample that lacks one of the two takes no part.
        loss_weight: Factor of the loss.

    Raises:
        ConfigError: `frames` are no pairs of different frames.
    """

    def __init__(
        self, head: str = 'instance', frames: Sequence[tuple[int, int]] = ((0, 1),), loss_weight: float = 1.0
    ) -> None:
        super().__init__(head)
        self.frames = pairs_of_frames('PointSegmentConsistency', frames)
        self.loss_weight = loss_weight

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `cosine`, the mean cosine similarity; `points`, how many have a segment in the other frame, over all
            pairs of frames.
        """
        rows, ids = batch.segment_points
        scan, scans, num_ids = batch.scan[rows], len(batch.frames.frame), batch.num_segments
        k = batch.embed_points(self.head, rows).float()
        means, counts = group_mean(k.detach(), scan * num_ids + ids, scans * num_ids)
        partner = torch.stack([batch.frames.partners(*pair) for pair in self.frames])[:, scan]
        # (pairs of frames, points)
        other = partner * num_ids + ids
        valid = (partner >= 0) & (counts > 0)[other]
        cosine = F.cosine_similarity(k, means[other], dim=2)
        loss, similar = (torch.where(valid, value, 0).sum() for value in (1 - cosine, cosine))
        count = mean_over_processes(valid.sum())
        return {
            'loss': self.loss_weight * loss / count,
            'cosine': batch.log(similar / count),
            'points': batch.log(valid.sum()),
        }
