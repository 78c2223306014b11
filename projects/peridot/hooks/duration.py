"""How long a run takes, said at its start, and a warning where steps wait for data."""

import logging
import os
import time

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from peridot.files import usable_cores
from peridot.registry import HOOKS

# steps at the start of a run that say nothing about the others: workers begin, kernels are chosen
WARM_UP = 10
# steps that a mean is taken over
STEPS = 40
# the part of a step that loading may take before it is worth a warning
LIMIT = 1 / 3


@HOOKS.register_module()
class DurationHook(Hook):
    """Estimates how long a run takes, and warns if its steps wait for data; both once.

    It reads what mmengine's timer notes for every step: `time`, and `data_time`, the part of it that passed before the
    batch was there. The estimate comes after 50 steps, without evaluations, and after the first evaluation for what is
    left, with them. Every 40 steps it looks whether waiting took more than a third of them. Of several processes the
    first one speaks, about its own times.
    """

    # after mmengine's timer
    priority = 'BELOW_NORMAL'

    def __init__(self) -> None:
        self._first = 0
        # mean time of a step, known once the estimate was said
        self._seconds: float | None = None
        self._warned = False
        self._val_began = 0.0
        self._val_counted = False

    def before_train(self, runner: Runner) -> None:
        """A resumed run begins where it was interrupted."""
        self._first = runner.iter

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look at the last steps."""
        done = runner.iter + 1 - self._first
        if done < WARM_UP + STEPS or (done - WARM_UP) % STEPS or 'train/time' not in runner.message_hub.log_scalars:
            return
        seconds, waiting = (
            runner.message_hub.get_scalar(f'train/{name}').mean(window_size=STEPS) for name in ('time', 'data_time')
        )
        if self._seconds is None:
            self._seconds = seconds
            steps = runner.max_iters - self._first
            without = ', evaluations not counted' if runner.val_loop else ''
            print_log(
                f'about {in_words(steps * seconds)} for {length(runner, steps)} at {seconds:.2g} s a step '
                f'({waiting:.2g} s waiting for data){without}',
                'current',
            )
        if waiting > LIMIT * seconds and not self._warned:
            self._warned = True
            print_log(_slow_loading(runner, seconds, waiting), 'current', logging.WARNING)

    def before_val(self, runner: Runner) -> None:
        """Note the time."""
        self._val_began = time.monotonic()

    def after_val(self, runner: Runner) -> None:
        """Say how long the rest takes, now that the time of an evaluation is known."""
        evaluations = evaluations_left(runner)
        if self._seconds is None or self._val_counted or not evaluations:
            return
        self._val_counted = True
        one, steps = time.monotonic() - self._val_began, runner.max_iters - runner.iter
        print_log(
            f'about {in_words(steps * self._seconds + evaluations * one)} left: {length(runner, steps)}, '
            f'{evaluations} evaluations of {in_words(one)}',
            'current',
        )


def evaluations_left(runner: Runner) -> int:
    """Evaluations that are still to come, by the interval of now; 0 outside training."""
    loop = runner.train_loop
    if runner.val_loop is None or isinstance(loop, dict):
        return 0
    last, now = (loop.max_iters, loop.iter) if runner.max_epochs is None else (loop.max_epochs, loop.epoch)
    times = range(max(now + 1, loop.val_begin), last + 1)
    return sum(number % loop.val_interval == 0 or number == last for number in times)


def length(runner: Runner, steps: int) -> str:
    """Steps of a run in words, as epochs where it counts them."""
    if runner.max_epochs is None:
        return f'{steps} steps'
    epochs = round(steps * runner.max_epochs / runner.max_iters, 1)
    return f'{epochs:g} epoch{"s" * (epochs != 1)}'


def in_words(seconds: float) -> str:
    """A duration with two digits and a fitting unit."""
    for unit, size in (('days', 86400), ('h', 3600), ('min', 60)):
        if seconds >= 2 * size:
            amount = seconds / size
            return f'{amount:.0f} {unit}' if amount >= 10 else f'{amount:.1f} {unit}'
    return f'{seconds:.0f} s' if seconds >= 10 else f'{seconds:.1f} s'


def _slow_loading(runner: Runner, seconds: float, waiting: float) -> str:
    """The warning, with the setting that helps."""
    workers = runner.train_dataloader.num_workers
    cores = max(1, usable_cores() // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
    more = f'set train_dataloader.num_workers={cores} (--cfg-options), or see' if workers < cores else 'see'
    return (
        f'{waiting / seconds:.0%} of the last {STEPS} steps was waiting for data ({waiting:.2g} of {seconds:.2g} s a '
        f'step), with {workers} workers on {cores} cores for this process: {more} docs/performance.md#waiting-for-data'
    )
