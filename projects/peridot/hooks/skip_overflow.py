"""Steps of a training in half precision whose losses or gradients are not finite."""

import logging

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from peridot.errors import PeridotError
from peridot.registry import HOOKS
from peridot.weights import unwrap


@HOOKS.register_module()
class SkipOverflowHook(Hook):
    """Leaves steps without finite losses or gradients to the loss scaler of `AmpOptimWrapper`, which skips them.

    Half precision overflows now and then: the scaler lowers its scale and training goes on. The log names the samples
    and counts these steps (`skipped_steps`). Many in a row have another cause and end the run. Without a scaler a
    `Pretrainer` stops at the first loss that is not finite.

    A step is one of the optimizer, of `accumulative_counts` batches. All processes count alike, as their gradients are
    averaged before.

    Args:
        limit: Number of such steps in a row that ends the run.
    """

    # before the losses are logged, whose averages they would spoil
    priority = 'HIGHEST'

    def __init__(self, limit: int = 20) -> None:
        self.limit = limit
        self.skipped = 0
        self._in_a_row = 0
        self._scaler = None
        # of the current step: whether the optimizer has changed the weights, samples of its batches, and of those
        # without finite losses
        self._stepped = False
        self._batches: list[str] = []
        self._bad: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Tell the model whether there is a scaler; a resumed run goes on counting."""
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        unwrap(runner.model).skips_overflow = self._scaler is not None
        if self._scaler is None:
            return
        history = runner.message_hub.log_scalars.get('train/skipped_steps')
        self.skipped = int(history.current()) if history else 0
        runner.optim_wrapper.optimizer.register_step_post_hook(self._after_step)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Count a step that was skipped.

        Raises:
            PeridotError: It is the last of `limit` in a row.
        """
        if self._scaler is None or not outputs:
            return
        samples = (data_batch or {}).get('data_samples') or []
        tokens = ', '.join(str(sample.metainfo.get('token')) for sample in samples)
        self._batches.append(tokens)
        if not torch.as_tensor(outputs['loss']).isfinite().all():
            # of all processes, as the model decides with all of them
            outputs.clear()
            self._bad.append(tokens)
        if runner.optim_wrapper.should_update():
            self._end_step(runner)
        outputs['skipped_steps'] = float(self.skipped)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        # to skip a step, the scaler does not call the optimizer; fused ones are told to leave the weights as they are
        self._stepped = not getattr(optimizer, 'found_inf', 0)

    def _end_step(self, runner: Runner) -> None:
        if self._stepped:
            self._in_a_row = 0
        else:
            self._count(runner)
        self._stepped, self._batches, self._bad = False, [], []

    def _count(self, runner: Runner) -> None:
        self.skipped += 1
        self._in_a_row += 1
        kind, tokens = ('loss', self._bad) if self._bad else ('gradients', self._batches)
        where = f'step {runner.iter + 1}: no finite {kind} in half precision (samples {", ".join(tokens)})'
        if self._in_a_row >= self.limit:
            raise PeridotError(
                f'{where}, as in the {self._in_a_row - 1} steps before: training stopped, none of them changed the '
                'weights; leave --amp out, or set optim_wrapper.type=OptimWrapper (full precision), or lower '
                'optim_wrapper.optimizer.lr, then continue with --resume'
            )
        print_log(
            f'{where}: skipped, {self.skipped} so far; loss scale {self._scaler.get_scale():g}',
            'current',
            logging.WARNING,
        )
