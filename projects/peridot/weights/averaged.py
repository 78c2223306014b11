"""The moving average that mmengine's `EMAHook` keeps of a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.hooks import EMAHook
from mmengine.runner import Runner


@contextmanager
def averaged_weights(runner: Runner) -> Iterator[None]:
    """Put the average into the model inside the block, if the run has an `EMAHook`.

    The hook itself does so for the epochs of validation and test, and in the checkpoints; what is computed or written
    elsewhere should come from the same weights.
    """
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    for hook in hooks:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in reversed(hooks):
            hook._swap_ema_parameters()
