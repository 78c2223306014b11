"""Contrast of the superpoints of two frames."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import group_mean
from peridot.models.objectives.contrast import Contrast
from peridot.registry import MODELS


@MODELS.register_module()
class SuperpointContrast(Contrast):
    """The mean embedding of a superpoint in one frame should be that of the same superpoint in another frame.

    A superpoint is what the points of a scan have in common: the id of their pixels in maps whose ids mean the same in
    all images of a sample, e.g. classes; or their lidar segment. With unit embeddings of the points P_s^f of superpoint
    s in frame f,

        k_s^f = mean_{P_s^f} k,   L_fg = -1/|S| sum_s log( exp(k_s^f.k_s^g / t) / sum_s' exp(k_s^f.k_s'^g / t) )

    over the superpoints S of all samples of a process that have points in both frames; L is the mean of the L_fg. The
    means are not normalized again unless `unit_means`, and both sides have gradients. A point that two cameras see
    counts twice.

    SuperFlow's temporal term has the frames (0, 1) and (0, 2), the neighboring keyframes; its dense-to-sparse term has
    the keyframe and its dense cloud, which also has the points of earlier sweeps. Seal's temporal term has lidar
    segments and the frames (0, 1); that both means are made unit vectors, that both sides have gradients and that the
    segments of all samples are candidates is our reading of it: its training code was never released.

    Xu et al., "4D Contrastive Superflows are Dense 3D Representation Learners", ECCV 2024.
    Liu et al., "Segment Any Point Cloud Sequences by Distilling Vision Foundation Models", NeurIPS 2023.

    Args:
        head: Projection head.
        groups: Name of the maps, in the dataset's `maps` and the pipeline's `LoadViewMaps`; None for the lidar segments
            of `LoadLidarSegments`.
        frames: Pairs of frames, by their numbers in `Frames.frame`: anchors, then candidates. A sample that lacks one
            of the two takes no part in the term; the mean is taken over the terms that have superpoints.
        distance: 'infonce', the formula above, as released; or 'cosine', 1 - cos of the two means, averaged over S,
            as the paper is said to have: our reading of it.
        unit_means: Divide the means by their length.
        **contrast: See `Contrast`.

    Raises:
        ConfigError: `frames` are no pairs of different frames, `distance` is another word, or negatives are to be
            gathered for the cosine, which has none.
    """

    def __init__(
        self,
        head: str = 'instance',
        groups: str | None = 'superpixels',
        frames: Sequence[tuple[int, int]] = ((0, 1), (0, 2)),
        distance: str = 'infonce',
        unit_means: bool = False,
        **contrast,
    ) -> None:
        super().__init__(head, **contrast)
        if distance not in ('infonce', 'cosine'):
            raise ConfigError(f"SuperpointContrast: distance={distance!r}: choose 'infonce' or 'cosine'")
        if distance == 'cosine' and self.gather_negatives:
            raise ConfigError(
                "SuperpointContrast: distance='cosine' has no negatives to gather: take gather_negatives out"
            )
        self.frames = pairs_of_frames('SuperpointContrast', frames)
        self.groups = groups
        self.distance = distance
        self.unit_means = unit_means

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `accuracy`, the ratio of anchors whose own superpoint is the most similar, or `similarity`, the mean
            cosine; `superpoints`, how many are in both frames, over all terms; `missing`, how many scans have no
            partner, over all terms.
        """
        points, ids, num_ids = self.members(batch)
        scans = len(batch.frames.frame)
        group = torch.where(ids >= 0, batch.scan[points] * num_ids + ids, -1)
        means, counts = group_mean(batch.embed_points(self.head, points), group, scans * num_ids)
        means = F.normalize(means.float(), dim=1) if self.unit_means else means
        means, filled = means.view(scans, num_ids, -1), counts.view(scans, num_ids) > 0
        partner = torch.stack([batch.frames.partners(*pair) for pair in self.frames])
        anchors = sum((batch.frames.frame == first).sum() for first, _ in self.frames)
        both = filled & filled[partner] & (partner >= 0)[..., None]
        term, scan, own = both.nonzero().unbind(1)
        result = self._compare(batch, means[scan, own], means[partner[term, scan], own], term)
        return {**result, 'superpoints': batch.log(len(term)), 'missing': batch.log(anchors - (partner >= 0).sum())}

    def members(self, batch: EncodedBatch) -> tuple[Tensor, Tensor, int]:
        """What belongs to which superpoint.

        Returns:
            Rows of the clouds Int64 (R,), perhaps some of them several times, their ids within the sample Int64 (R,),
            -1 for none, and the number of ids.
        """
        if self.groups is None:
            return *batch.segment_points, batch.num_segments
        ids, num_ids = batch.pair_ids(self.groups)
        return batch.pairs.point, ids, num_ids

    def _compare(self, batch: EncodedBatch, k: Tensor, q: Tensor, term: Tensor) -> dict[str, Tensor]:
        """Loss of the means k (M, D) and q (M, D) of the same superpoints, and its number for the log."""
        if self.distance == 'infonce':
            return self.nothing(batch) if self.can_skip(len(k)) else self.info_nce(k, q, term)
        cosine = F.cosine_similarity(k.float(), q.float(), dim=1)
        means, counts = group_mean(1 - cosine[:, None], term, len(self.frames))
        loss = self.loss_weight * means.sum() / (counts > 0).sum().clamp(min=1)
        return {'loss': loss, 'similarity': batch.log(cosine.sum() / max(len(k), 1))}


def pairs_of_frames(objective: str, frames: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The option `frames` of an objective, pairs of different frames.

    Raises:
        ConfigError: It is something else.
    """
    if not len(frames) or any(len(pair) != 2 or pair[0] == pair[1] or min(pair) < 0 for pair in frames):
        raise ConfigError(f'{objective}: frames={list(frames)}: set pairs of two frames, e.g. [(0, 1)]')
    return [tuple(pair) for pair in frames]
