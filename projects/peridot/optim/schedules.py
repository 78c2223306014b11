"""Learning-rate schedules that mmengine lacks; iterations are counted from 0."""

import math
from collections.abc import Mapping, Sequence

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, ExponentialParamScheduler, _ParamScheduler

from peridot.errors import ConfigError
from peridot.registry import PARAM_SCHEDULERS

# lengths in the configs of schedulers
LENGTHS = (
    *('begin', 'end', 'T_max', 'total_steps', 'step_size', 'milestones', 'periods'),
    *('warmup', 'tau', 'cooldown'),
)


class WarmupLR(LRSchedulerMixin, _ParamScheduler):
    """Learning rate = initial one times `factor(iteration)`, which rises from 0 during the warm-up.

    Subclasses are built from lengths in epochs, so their configs say `convert_to_iter_based=True`.

    Args:
        optimizer: Optimizer wrapper.
        warmup: Iterations of linear warm-up.
        end: Iterations of the training.
        **kwargs: Those of mmengine's schedulers.

    Raises:
        ConfigError: The training is not longer than the warm-up.
    """

    def __init__(self, optimizer, warmup: float, end: int, **kwargs) -> None:
        if not 0 <= warmup < end:
            raise ConfigError(
                f'param_scheduler: a warm-up of {warmup:g} iterations in a training of {end}: shorten the warm-up or '
                'raise train_cfg.max_epochs (and end of the scheduler)'
            )
        self.warmup = warmup
        super().__init__(optimizer, end=end, by_epoch=False, **kwargs)

    def factor(self, iteration: int) -> float:
        """Learning rate of an iteration, relative to the initial one."""
        if iteration < self.warmup:
            return iteration / self.warmup
        return self.decay(iteration)

    def decay(self, iteration: int) -> float:
        """The factor after the warm-up."""
        raise NotImplementedError

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step)
        return [value * factor for value in self.base_values]


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(WarmupLR):
    """ScaLR's learning rate: linear from 0, then a cosine to `min_factor`; w warm-up, T iterations in all.

        f(i) = i / w                                             i < w
        f(i) = m + (1 - m) (1 + cos(pi (i - w) / (T - w))) / 2   from w on

    Args:
        optimizer: Optimizer wrapper.
        warmup: Iterations of warm-up (not epochs, as published); below 1, their share of the training.
        end: Length of the training; with `convert_to_iter_based=True` in epochs.
        min_factor: m, the last learning rate relative to the initial one.
        **kwargs: Those of mmengine's schedulers.
    """

    # lengths that are not in epochs, even with `convert_to_iter_based=True`
    in_iterations = ('warmup',)

    def __init__(self, optimizer, warmup: float, end: int, min_factor: float = 0.0, **kwargs) -> None:
        self.min_factor = min_factor
        super().__init__(optimizer, round(warmup * end) if warmup < 1 else warmup, end, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, end: int, epoch_length: int, by_epoch: bool = True, **kwargs):
        """Scheduler of a training of `end` epochs."""
        return cls(*args, end=end * epoch_length, **kwargs)

    def decay(self, iteration: int) -> float:
        """The cosine."""
        progress = (iteration - self.warmup) / (self.end - self.warmup)
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * progress)) / 2


@PARAM_SCHEDULERS.register_module()
class WarmupReciprocalSqrtLR(WarmupLR):
    """Learning rate of ScaLR+: linear from 0, then a reciprocal square root, at last linear to 0.

        f(i) = i / w                         i < w
        f(i) = 1 / sqrt(1 + (i - w) / tau)   w <= i < c
        f(i) = f(c) (T - i) / (T - c)        c <= i < T

    It has no jump at c; the released code has one of 0.8 %, where it leaves w out of f(c).

    Args:
        optimizer: Optimizer wrapper.
        warmup: w.
        tau: Scale of the decay.
        cooldown: c, where the cool-down begins.
        end: T, the length of the training. With `convert_to_iter_based=True` all four are in epochs.
        **kwargs: Those of mmengine's schedulers.

    Raises:
        ConfigError: The cool-down does not lie between warm-up and end.
    """

    def __init__(self, optimizer, warmup: float, tau: float, cooldown: float, end: int, **kwargs) -> None:
        if not warmup <= cooldown < end:
            raise ConfigError(
                f'param_scheduler: cooldown={cooldown:g} must lie between warmup={warmup:g} and end={end:g}: change it'
            )
        self.tau, self.cooldown = tau, cooldown
        super().__init__(optimizer, warmup, end, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, epoch_length: int, by_epoch: bool = True, **kwargs):
        """Scheduler whose lengths are in epochs."""
        for name in ('warmup', 'tau', 'cooldown', 'end'):
            kwargs[name] *= epoch_length
        return cls(*args, **kwargs)

    def decay(self, iteration: int) -> float:
        """Reciprocal square root, and the cool-down."""
        cooled = (self.end - max(iteration, self.cooldown)) / (self.end - self.cooldown)
        return cooled / math.sqrt(1 + (min(iteration, self.cooldown) - self.warmup) / self.tau)


def in_longer_epochs(settings: Mapping, ratio: float) -> dict:
    """Config of a scheduler whose lengths in iterations are the same in epochs of another length.

    Args:
        settings: Config of one of our schedulers or of mmengine's; lengths in epochs stay.
        ratio: Iterations of an epoch, relative to those that the config refers to.
    """
    kind = PARAM_SCHEDULERS.get(settings['type']) if isinstance(settings['type'], str) else settings['type']
    in_epochs = settings.get('by_epoch', True)
    names = getattr(kind, 'in_iterations', ()) if in_epochs else LENGTHS
    result = {name: _longer(value, ratio) if name in names else value for name, value in settings.items()}
    by_iteration = not in_epochs or settings.get('convert_to_iter_based')
    if by_iteration and issubclass(kind, ExponentialParamScheduler):
        result['gamma'] **= 1 / ratio
    return result


def _longer(length: float | Sequence[float], ratio: float) -> float | list[float]:
    """A length times `ratio`, at least 1; shares of the training and what has no end stay."""
    if isinstance(length, Sequence):
        return [_longer(value, ratio) for value in length]
    return length if length < 1 or length >= INF else max(1, round(length * ratio))
