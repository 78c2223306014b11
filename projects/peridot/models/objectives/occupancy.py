"""ALSO: self-supervision by the occupancy around every point."""

import logging

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import draw_neighbors, histogram, mean_over_processes
from peridot.models.objectives.objective import Objective
from peridot.models.students.features import Supports
from peridot.registry import MODELS
from peridot.structures import Frames, Queries

# pairs that are decoded together; their inner activations are recomputed in the backward pass
CHUNK = 1 << 14


class OccupancyDecoder(nn.Module):
    """Predicts occupancy and intensity at an offset from a support, from the support's latent vector alone.

    With latent z and offset x, W_in = [A, B] acting on their concatenation:

        h = ReLU(W_1 ReLU(A z + B x + b_in) + b_1),    (occupancy logit, intensity) = W_out (W_2 h + b_2) + b_out

    A z + b_in is the same for all pairs of a support and computed once; the last two maps have no activation between
    them and act as one. Names and initial values of the weights are those of the released decoder.

    Args:
        channels: Channels of the latent vectors and of the hidden layers.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.fc_in = nn.Linear(channels + 3, channels)
        self.mlp_layers = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.fc_out = nn.Linear(channels, 2)

    def forward(self, latents: Tensor, support: Tensor, offset: Tensor) -> Tensor:
        """Predictions for pairs.

        Args:
            latents: Float (S, C), latent vectors of the supports.
            support: Int64 (P,), support of each pair.
            offset: Float (P, 3), vector from the support to the query in meters.

        Returns:
            Float32 (P, 2): occupancy logit and intensity.
        """
        channels = latents.shape[1]
        latent, position = self.fc_in.weight.split([channels, 3], 1)
        hidden = F.linear(latents, latent, self.fc_in.bias)
        second = self.mlp_layers[1]
        weight = self.fc_out.weight @ second.weight
        bias = F.linear(second.bias, self.fc_out.weight, self.fc_out.bias)
        decoded = [
            checkpoint(
                self._decode, hidden, position, weight, bias, *part, use_reentrant=False, preserve_rng_state=False
            )
            for part in zip(support.split(CHUNK), offset.to(hidden).split(CHUNK))
        ]
        return torch.cat(decoded).float()

    def _decode(
        self, hidden: Tensor, position: Tensor, weight: Tensor, bias: Tensor, support: Tensor, offset: Tensor
    ) -> Tensor:
        inner = torch.addmm(hidden.index_select(0, support), offset, position.T).relu_()
        return F.linear(self.mlp_layers[0](inner).relu_(), weight, bias)


@MODELS.register_module()
class OccupancyReconstruction(Objective):
    """Every support point should tell, on its own, which space around it is occupied.

    For each query q (see `peridot.SampleOccupancyQueries`) and each support s within the radius, a point or a cell of
    a bird's-eye view, the decoder f predicts occupancy o and intensity i from the support's latent vector z_s:

        o, i = f(z_s, q - s),    L = mean BCE(o, occupied_q) + mean |i - intensity_q|

    Means are over all pairs of the joint batch of all processes, those of the intensity over the pairs where it is
    known. Predictions of the supports of a query are not pooled.

    Boulch et al., "ALSO: Automotive Lidar Self-supervision by Occupancy estimation", CVPR 2023.

    With `frames` the queries of another frame are asked, see `moved_queries`: with the next one, of what will be
    occupied. That is our reading of what HilDA lets a diffusion model predict, without the diffusion.

    Args:
        head: Head that gives the latent vectors, `peridot.LatentHead`.
        radius: In meters.
        max_neighbors: Supports of a query that are used, a uniformly random choice where there are more; None uses
            all. The released code leaves the choice of the 32 to a library.
        occupancy_weight: Weight of the first part of the loss.
        intensity_weight: Weight of the second.
        frames: (source, target): queries of the frames `source` are asked of the frames `target` of their samples, both
            as in `Frames.frame`, 0 for the keyframe; None asks all queries of their own scans.
    """

    # supports belong to the student's own features
    reads_layers = False

    def __init__(
        self,
        head: str = 'occupancy',
        radius: float = 1.0,
        max_neighbors: int | None = 32,
        occupancy_weight: float = 1.0,
        intensity_weight: float = 1.0,
        frames: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(head)
        self.radius = radius
        self.max_neighbors = max_neighbors
        self.occupancy_weight = occupancy_weight
        self.intensity_weight = intensity_weight
        self.frames = frames
        self._looked = False

    def connect(self, channels: int) -> None:
        """Make the decoder, for latent vectors of the head's width."""
        self.decoder = OccupancyDecoder(channels)

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Returns:
            `loss_occupancy` and `loss_intensity`, weighted; `iou`, the mean of the IoU of free and occupied over the
            pairs; `query_iou`, the same over the queries that have a support, predicted by the mean logit of theirs;
            `pairs`, the number of pairs.

        Raises:
            ConfigError: The batch has no queries.
        """
        queries = batch.queries
        if queries is None:
            raise ConfigError(
                'the batch has no occupancy queries: add dict(type="peridot.SampleOccupancyQueries", ...) to the '
                'pipeline after GlobalRotScaleTrans and RandomFlip3D'
            )
        if self.frames is not None:
            queries = moved_queries(queries, batch.frames, *self.frames)
        latents = batch.heads[self.head].embed_student
        query, predicted = self.predict(batch.supports, queries.position, queries.scan, latents, batch.generator)
        self._warn_without_intensity(queries)
        logit, intensity = predicted.unbind(1)
        occupied, known = queries.occupied[query], queries.has_intensity[query]
        errors = (intensity - queries.intensity[query]).abs() * known
        pairs, intensities = mean_over_processes(torch.stack([batch.log(len(query)), batch.log(known.sum())]))
        pooled = mean_logits(query, logit.detach(), len(queries.position))
        return dict(
            loss_occupancy=self.occupancy_weight * _cross_entropy(logit, occupied) / pairs,
            loss_intensity=self.intensity_weight * errors.sum() / intensities,
            iou=occupancy_iou(logit > 0, occupied),
            query_iou=occupancy_iou(pooled > 0, queries.occupied, ~pooled.isnan()),
            pairs=batch.log(len(query)),
        )

    def predict(
        self, supports: Supports, position: Tensor, scan: Tensor, latents, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Occupancy and intensity at places, as each of their supports sees them.

        Args:
            supports: Of the batch.
            position: Float (M, 3), in meters.
            scan: Int64 (M,).
            latents: Maps features (S, C) to latent vectors.
            generator: For the choice of supports.

        Returns:
            Int64 (P,) place of every pair, and float32 (P, 2) occupancy logit and intensity.
        """
        query, support = supports.near(position, scan, self.radius)
        kept = draw_neighbors(query, len(position), self.max_neighbors, generator)
        query, support = query[kept], support[kept]
        used, own = support.unique(return_inverse=True)
        return query, self.decoder(supports.read(used, latents), own, supports.offset(position[query], support))

    def _warn_without_intensity(self, queries: Queries) -> None:
        if self._looked or not len(queries.position):
            return
        # at the first batch alone: the answer makes the step wait
        self._looked = True
        if not queries.has_intensity.any():
            print_log('points have no intensity: occupancy is learned without it', 'current', logging.WARNING)


def moved_queries(queries: Queries, frames: Frames, source: int, target: int) -> Queries:
    """Queries of one frame of every sample, where they lie in another frame of the sample.

    Both may be augmented. The poses move what stands still: a query on a moving object stays where the object was at
    the time of `source`.

    Args:
        queries: Of the batch.
        frames: Of the batch.
        source: Frame whose queries are taken, as in `Frames.frame`; those of other frames are left out.
        target: Frame that they are asked of; a sample without it has none.
    """
    # of every scan, the one that is asked
    scan = frames.partners(source, target)
    # rows, because a mask is counted once for every field
    taken = queries[(scan >= 0)[queries.scan].nonzero()[:, 0]]
    own = torch.arange(len(scan), device=scan.device)
    move = frames.between(own, torch.where(scan >= 0, scan, own))[taken.scan]
    position = (move[:, :3, :3] @ taken.position.double()[..., None])[..., 0] + move[:, :3, 3]
    return Queries(**{**dict(taken.items()), 'position': position.float(), 'scan': scan[taken.scan]})


def _cross_entropy(logit: Tensor, occupied: Tensor) -> Tensor:
    """Sum over the pairs (P,)."""
    return F.binary_cross_entropy_with_logits(logit, occupied.float(), reduction='sum')


def mean_logits(query: Tensor, logit: Tensor, num_queries: int) -> Tensor:
    """Mean logit (M,) of the pairs of each query, NaN where it has none.

    Args:
        query: Int64 (P,), query of every pair, below `num_queries`.
        logit: Float (P,).
        num_queries: M.
    """
    total = logit.new_zeros(num_queries).index_add_(0, query, logit)
    return total / histogram(query, num_queries)


def occupancy_iou(predicted: Tensor, occupied: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of the IoU of free and occupied over bool (P,); a class that does not occur is left out. 0 if P = 0.

    Args:
        predicted: Bool (P,).
        occupied: Bool (P,).
        counted: Bool (P,), those that count; by default all.
    """
    kind = 2 * occupied.long() + predicted.long()
    if counted is not None:
        kind = torch.where(counted, kind, 4)
    counts = histogram(kind, 5)[:4].view(2, 2).float()
    union = counts.sum(0) + counts.sum(1) - counts.diag()
    iou, present = counts.diag() / union.clamp(min=1), counts.sum(1) > 0
    return (iou * present).sum() / present.sum().clamp(min=1)
