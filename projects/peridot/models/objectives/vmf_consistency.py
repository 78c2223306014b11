"""Class consistency by von Mises-Fisher distributions."""

import math

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub
from torch import Tensor

from peridot.errors import ConfigError, DataError
from peridot.models.batch import EncodedBatch
from peridot.models.counter import Counter
from peridot.models.functional import reduce_sum, vmf_concentration, vmf_log_normalizer
from peridot.models.objectives.objective import Objective
from peridot.registry import MODELS

MIN_RESULTANT = 1e-6  # below it a class has no mean direction
WARMUP_SHARE = 10001 / (50 * 1758)  # published for nuScenes


def run_length() -> int:
    """Steps of the training that runs.

    Raises:
        ConfigError: There is none.
    """
    steps = MessageHub.get_current_instance().get_info('max_iters')
    if steps is None:
        raise ConfigError('VMFConsistency: the length of the training is not known here: set warmup_steps')
    return steps


@MODELS.register_module()
class VMFConsistency(Objective):
    """Points of a weak class should follow the class's von Mises-Fisher distribution: OLIVINE's L_kl.

    For each class c an exponential moving average z_c of the mean student embedding gives the mean direction
    mu_c = z_c / R, `R = |z_c|`, and the concentration kappa_c = R (D - R^2) / (1 - R^2). The loss is the
    negative log-likelihood, averaged over the points of a class, then over the classes present:

        L = mean_c [ -log C_D(kappa_c) - kappa_c mean_{i in c} mu_c . z_i ]

    mu and kappa carry no gradient. During warm-up the average runs and the loss is zero; afterwards it is
    frozen, as in the published code, or moves on (`freeze_after_warmup=False`: a target that follows the
    student may collapse). It starts at zero without correction, so with the default momentum R stays below
    0.632 and kappa below 67, and classes seen rarely keep a small kappa; `bias_correction` divides that out.

    Means are those of the joint batch of all processes, by one reduction of class sums and counts a step: the
    mean over processes of loss and gradient equals the loss of one process with the whole batch. All
    statistics are buffers, so that resuming continues exactly.

    Args:
        num_classes: Number of weak label classes.
        head: Projection head.
        warmup_steps: Steps without loss; by default as large a share of the training as the published 10001 of 50
            epochs of 1758 steps.
        momentum: Weight of the old average; by default 1 - 1 / (warmup_steps - 1), which is the published 0.9999 for
            10001 steps: the average remembers as many steps as the warm-up has.
        freeze_after_warmup: Keep the distributions after warm-up.
        bias_correction: Divide the average by 1 - momentum^updates.
        max_concentration: Upper limit of kappa, which is the weight of the class in the gradient.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        num_classes: int,
        head: str = 'semantic',
        warmup_steps: int | None = None,
        momentum: float | None = None,
        freeze_after_warmup: bool = True,
        bias_correction: bool = False,
        max_concentration: float = 70.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(head)
        if freeze_after_warmup and warmup_steps == 0:
            raise ConfigError(
                'VMFConsistency: warmup_steps=0 leaves nothing to freeze: set warmup_steps or freeze_after_warmup=False'
            )
        if momentum is not None and not 0 < momentum < 1:
            raise ConfigError(f'VMFConsistency: momentum={momentum}, set a value between 0 and 1')
        self.num_classes = num_classes
        self._momentum = momentum
        self._warmup_steps = warmup_steps
        self._is_share = warmup_steps is None
        self.freeze_after_warmup = freeze_after_warmup
        self.bias_correction = bias_correction
        self.max_concentration = max_concentration
        self.loss_weight = loss_weight

    def connect(self, channels: int) -> None:
        """Make the buffers, of width D."""
        self.channels = channels
        self.register_buffer('average', torch.zeros(self.num_classes, channels))
        self.register_buffer('updates', torch.zeros(self.num_classes))
        self.steps = Counter()

    def rescale_steps(self, ratio: float) -> None:
        """See `Objective`; `warmup_steps` of the config count steps that were made, whatever their size."""
        if self._is_share:
            self.steps.set(round(int(self.steps) * ratio))

    @property
    def warmup_steps(self) -> int:
        """Steps without loss."""
        if self._warmup_steps is None:
            self._warmup_steps = max(1, round(WARMUP_SHARE * run_length()))
        return self._warmup_steps

    @property
    def momentum(self) -> float:
        """Weight of the old average."""
        return 1 - 1 / max(self.warmup_steps - 1, 2) if self._momentum is None else self._momentum

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Update the distributions where due and compute the loss of a batch.

        Returns:
            `loss`; `kappa`, the mean concentration of the known classes; `classes`, how many known classes
            are in the joint batch.
        """
        self._check_classes(batch)
        index, labels = batch.labeled_pairs
        warming_up = int(self.steps) < self.warmup_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not warming_up):
            local = self._sums_and_counts(batch.embed_student(self.head, index), labels)
        joint = reduce_sum(local)
        if self.training:
            self.steps.advance()
            if warming_up or not self.freeze_after_warmup:
                self._update(joint)
        mean, kappa, known = self.distributions()
        present = known & (joint[:, -1] > 0)
        loss = batch.log(0)
        if not warming_up:
            loss = self.loss_weight * self._loss(local, joint, mean, kappa, present)
        kappa_of_known = kappa.sum() / known.sum().clamp(min=1)
        return {'loss': loss, 'kappa': batch.log(kappa_of_known), 'classes': batch.log(present.sum())}

    def distributions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean directions (K, D), concentrations (K,) and a mask (K,) of the known classes; zero for the others."""
        average = self.average
        if self.bias_correction:
            # 1 - momentum^n without cancellation
            correction = -torch.expm1(self.updates * math.log(self.momentum))
            average = average / correction.clamp(min=torch.finfo(correction.dtype).tiny)[:, None]
        resultant = average.norm(dim=1)
        known = (self.updates > 0) & (resultant > MIN_RESULTANT)
        kappa = vmf_concentration(resultant, self.channels).clamp(max=self.max_concentration)
        return F.normalize(average, dim=1) * known[:, None], kappa * known, known

    def _check_classes(self, batch: EncodedBatch) -> None:
        if batch.label_classes is not None and batch.label_classes != self.num_classes:
            raise ConfigError(
                f'VMFConsistency: num_classes={self.num_classes} in the config, but the label maps have '
                f'{batch.label_classes} classes: set num_classes={batch.label_classes}'
            )
        # labels of a number of classes that is not known: the only ones that are looked at, as it makes the step wait
        labels = batch.labeled_pairs[1]
        if batch.label_classes is None and len(labels) and (high := int(labels.max())) >= self.num_classes:
            raise DataError(
                f'weak label {high} is none of the {self.num_classes} classes: set num_classes of VMFConsistency'
            )

    def _sums_and_counts(self, z: Tensor, labels: Tensor) -> Tensor:
        """Sum of embeddings and number of pairs of each class, (K, D + 1) float32."""
        rows = torch.cat([z.float(), torch.ones_like(z[:, :1], dtype=torch.float32)], 1)
        return rows.new_zeros(self.num_classes, self.channels + 1).index_add(0, labels, rows)

    @torch.no_grad()
    def _update(self, joint: Tensor) -> None:
        """One step of the moving average; classes absent from the batch keep theirs."""
        present = joint[:, -1] > 0
        batch_mean = joint[:, :-1] / joint[:, -1:].clamp(min=1)
        moved = self.momentum * self.average + (1 - self.momentum) * batch_mean
        self.average.copy_(torch.where(present[:, None], moved, self.average))
        self.updates += present

    def _loss(self, local: Tensor, joint: Tensor, mean: Tensor, kappa: Tensor, present: Tensor) -> Tensor:
        """Contribution of this process to the joint loss, times the number of processes.

        The joint class mean is the sum over processes of (local sum / joint count); the factor undoes the
        averaging over processes.
        """
        sums, counts = local[:, :-1], local[:, -1].detach()
        nll = -counts * vmf_log_normalizer(kappa, self.channels) - kappa * (mean * sums).sum(1)
        weight = present * get_world_size() / (joint[:, -1].clamp(min=1) * present.sum().clamp(min=1))
        return (weight * nll).sum()
