"""Distance of normalized features."""

import torch
from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import histogram, mean_over_processes
from peridot.models.objectives.objective import Objective
from peridot.registry import MODELS

DISTANCES = ('l2', 'cosine', 'squared')
MEANS = ('points', 'images')


@MODELS.register_module()
class FeatureDistance(Objective):
    """A point's embedding should equal the teacher's feature at its pixel: ScaLR's loss.

    With unit vectors u_i of the point and v_i of the pixel of pair i, P pairs in all,

        l2       L = 1/P sum_i |u_i - v_i|            not squared: its gradient in u_i has length 1
        squared  L = 1/P sum_i |u_i - v_i|^2          equals 2 - 2 cos
        cosine   L = 1/P sum_i (1 - u_i . v_i)

    All pairs of the joint batch of all processes count, nothing is drawn. A point that several cameras see counts once,
    with the mean over its pixels; with one camera a sample, as published, every point has one pixel. With
    `mean_over='images'` every image that has pairs counts once, as in HilDA.

    Puy et al., "Three Pillars Improving Vision Foundation Model Distillation for Lidar", CVPR 2024; first called
    "Revisiting the Distillation of Image Representations into Point Clouds for Autonomous Driving".

    Args:
        head: Projection head into the teacher's space, e.g. `peridot.DistillationHead`.
        distance: 'l2' as published, 'cosine' or 'squared'.
        loss_weight: Factor of the loss.
        mean_over: 'points', or 'images'.
    """

    def __init__(
        self, head: str = 'distill', distance: str = 'l2', loss_weight: float = 1.0, mean_over: str = 'points'
    ) -> None:
        super().__init__(head)
        for name, value, choices in (('distance', distance, DISTANCES), ('mean_over', mean_over, MEANS)):
            if value not in choices:
                raise ConfigError(f'FeatureDistance: {name}={value!r}, choose from {", ".join(choices)}')
        self.distance = distance
        self.loss_weight = loss_weight
        self.mean_over = mean_over

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `cosine`, the mean cosine similarity; `pairs`, their number.
        """
        pairs = batch.log(batch.num_pairs)
        weight = point_weights(*self._groups(batch))
        if not batch.num_pairs:
            return {'loss': batch.log(0), 'cosine': batch.log(0), 'pairs': pairs}
        u, v = batch.embed(self.head, torch.arange(batch.num_pairs, device=batch.device))
        # no matrix product: autocast would halve its precision
        loss = (weight * feature_distance(u, v, self.distance)).sum()
        cosine = (weight * (u.detach() * v).sum(1)).sum()
        return {'loss': self.loss_weight * loss, 'cosine': cosine, 'pairs': pairs}

    def _groups(self, batch: EncodedBatch) -> tuple[Tensor, int]:
        """What counts once: Int64 (P,) of every pair, and how many there may be."""
        if self.mean_over == 'points':
            return batch.pairs.point, len(batch.points)
        # without pairs nobody asks the teacher
        return batch.pairs.camera, len(batch.teacher_map) if batch.num_pairs else 0


def feature_distance(u: Tensor, v: Tensor, distance: str = 'l2') -> Tensor:
    """Distance of unit vectors, row by row.

    Args:
        u: Float (P, D).
        v: Float (P, D).
        distance: 'l2', 'cosine' or 'squared', see `FeatureDistance`.

    Returns:
        Float32 (P,); the gradient of 'l2' at u = v is zero.
    """
    difference = u.float() - v.float()
    if distance == 'l2':
        return torch.linalg.vector_norm(difference, dim=1)
    squared = difference.square().sum(1)
    # of unit vectors, |u - v|^2 = 2 (1 - u . v)
    return squared if distance == 'squared' else squared / 2


def point_weights(point: Tensor, num_points: int) -> Tensor:
    """Weights that make the sum over pairs the mean over points (or images) of the mean over a point's pairs.

    The mean over processes of these sums is the mean over the points of all of them, see `mean_over_processes`.

    Args:
        point: Int64 (P,), point (or image) of every pair.
        num_points: Number of points (or images) of the batch.

    Returns:
        Float32 (P,), sums to one in a single process.
    """
    count = histogram(point, num_points)
    return 1.0 / (count[point] * mean_over_processes((count > 0).sum()))
