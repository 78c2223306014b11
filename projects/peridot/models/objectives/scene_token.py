"""HilDA's scene token: what all points of a scan say together, against the summaries of its images."""

import torch
from torch import Tensor

from peridot.errors import ConfigError
from peridot.models.batch import EncodedBatch
from peridot.models.functional import mean_over_processes
from peridot.models.heads import CLASS_TOKEN
from peridot.models.objectives.objective import Objective
from peridot.registry import MODELS


@MODELS.register_module()
class SceneToken(Objective):
    """The largest responses of a scan's points should be the largest of its images' class tokens.

    With the embeddings h_i of the points of scan s, the class tokens t_v of its images, D channels of both, and maxima
    channel by channel,

        L = mean over scans s of 1/D |max_(i in s) h_i - max_(v of s) t_v|^2

    No pair of point and pixel is needed. A scan without images does not count; the mean is over the scans of all
    processes.

    Wozniak et al., "HilDA: Hierarchical Distillation with Diffusion for Advancing Self-Supervised LiDAR Pre-training",
    ECCV 2026. Our reading: the authors' figure shows a learnable global token of the points, a summary of the paper,
    the only source of the formula that we had, the maximum of embeddings; we follow the latter. The division by D is
    ours, as is the weight, which is not published.

    Args:
        head: Head with `teacher_layer='class_token'`, e.g. `peridot.DistillationHead` with `normalize=False`.
        loss_weight: Factor of the loss.
    """

    def __init__(self, head: str = 'scene', loss_weight: float = 1.0) -> None:
        super().__init__(head)
        self.loss_weight = loss_weight

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Returns:
            `loss`; `scans`, the number of scans with points and images.

        Raises:
            ConfigError: The head reads something else than class tokens.
        """
        head = batch.heads[self.head]
        if head.teacher_layer != CLASS_TOKEN:
            raise ConfigError(
                f"peridot.SceneToken needs class tokens: set teacher_layer='class_token' of model.heads.{self.head}, "
                'and model.teacher.class_token=True'
            )
        scans = len(batch.frames.frame)
        inside = batch.student.inside
        rows = torch.arange(len(batch.points), device=batch.device) if inside is None else inside.nonzero()[:, 0]
        found = maxima(batch.embed_points(self.head, rows), batch.scan[rows], scans)
        wanted = torch.full_like(found, -torch.inf)
        if batch.image_size is not None:
            tokens = head.embed_teacher(batch.teacher_features[CLASS_TOKEN])
            numbers = torch.arange(scans, device=batch.device)
            scan = numbers.repeat_interleave(batch.frames.num_images, output_size=len(tokens))
            wanted = maxima(tokens, scan, scans)
        known = found.isfinite().all(1) & wanted.isfinite().all(1)
        difference = torch.where(known[:, None], found - wanted, 0)
        number = known.sum()
        loss = difference.square().mean(1).sum() / mean_over_processes(number)
        return {'loss': self.loss_weight * loss, 'scans': batch.log(number)}


def maxima(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Largest value of every channel in each group, with gradient; -inf in groups without rows.

    Args:
        values: Float (N, D).
        group: Int64 (N,), below `num_groups`.
        num_groups: G.

    Returns:
        (G, D). Rows with equal values divide the gradient among them.
    """
    largest = values.new_full((num_groups, values.shape[1]), -torch.inf)
    return largest.scatter_reduce(0, group[:, None].expand_as(values), values, 'amax')
