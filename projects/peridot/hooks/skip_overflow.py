"""Steps of a training in half precision whose losses are not finite."""

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
    """Leaves steps without finite losses to the loss scaler of `AmpOptimWrapper`, which skips them.

    Half precision overflows now and then: the scaler lowers its scale and training goes on. The log names the samples
    and counts these steps (`skipped_steps`). Many in a row have another cause and end the run. Without a scaler a
    `Pretrainer` stops at the first one.

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

    def before_train(self, runner: Runner) -> None:
        """Tell the model whether there is a scaler."""
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        unwrap(runner.model).skips_overflow = self._scaler is not None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Count a step that was skipped.

        Raises:
            PeridotError: It is the last of `limit` in a row.
        """
        if self._scaler is None or not outputs:
            return
        finite = bool(torch.as_tensor(outputs['loss']).isfinite().all())
        if not finite:
            # of all processes, as the model decides with all of them
            outputs.clear()
            self._count(runner, data_batch)
        self._in_a_row = 0 if finite else self._in_a_row
        outputs['skipped_steps'] = float(self.skipped)

    def _count(self, runner: Runner, data_batch: dict | None) -> None:
        self.skipped += 1
        self._in_a_row += 1
        samples = (data_batch or {}).get('data_samples') or []
        tokens = ', '.join(str(sample.metainfo.get('token')) for sample in samples)
        where = f'step {runner.iter + 1}: no finite loss in half precision (samples {tokens})'
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
