"""Checkpoints within an epoch: after a time, and when a queue preempts the run."""

import atexit
import functools
import math
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from peridot.errors import Preempted
from peridot.files import atomic_path
from peridot.registry import HOOKS

# of queues: SIGTERM ends a run, SIGUSR1 announces that (`sbatch --signal=USR1@120`)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# iterations after which several processes agree on what to do, which costs a transfer from the device
AGREE_EVERY = 10
NOTHING, SAVE, SAVE_AND_END = range(3)


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Saves `interim_N.pth`, with which `--resume` continues within the epoch, and notes it in `last_checkpoint`.

    It does so `minutes` after the last checkpoint; on SIGUSR1; and on SIGTERM, which then ends the run with status 143.
    Several processes agree every 10th iteration and at the end of an epoch. SIGTERM outside training iterations ends
    the run at once, as it does without this hook. The file replaces the last one of its kind; those of epochs are left
    to mmengine's hook.

    Args:
        minutes: Time between checkpoints.
    """

    # after mmengine's hooks for schedulers and checkpoints
    priority = 'LOWEST'
    # whether a run of this process listens: what is forked then are its loaders' workers
    listening = False

    def __init__(self, minutes: float = 30) -> None:
        self.seconds = 60 * minutes
        self._asked = NOTHING
        self._iterating = False
        self._saved_at = math.inf
        self._previous: dict = {}

    def before_train(self, runner: Runner) -> None:
        """Begin to listen."""
        self._saved_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
            _shield_workers()
            InterruptionHook.listening = True

    def after_train(self, runner: Runner) -> None:
        """Let signals do what they did before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        InterruptionHook.listening = False

    def before_train_epoch(self, runner: Runner) -> None:
        """From here on a signal waits for the end of an iteration."""
        self._iterating = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Checkpoints of mmengine's hook count, too."""
        self._saved_at = time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save, and end, if that was asked for; not while gradients are accumulated, which are not saved.

        Raises:
            Preempted: A checkpoint was saved because of SIGTERM.
        """
        interval = math.lcm(AGREE_EVERY if dist.is_distributed() else 1, accumulated(runner))
        # what belongs to the end of an epoch comes first
        if (runner.iter + 1) % interval == 0 and not self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._act(runner, runner.iter + 1, by_epoch=False)

    def after_train_epoch(self, runner: Runner) -> None:
        """See `after_train_iter`."""
        if runner.iter % accumulated(runner) == 0:
            self._act(runner, runner.iter, by_epoch=True)
        self._iterating = False

    def _act(self, runner: Runner, iteration: int, by_epoch: bool) -> None:
        """Do what one of the processes was asked for."""
        asked = torch.tensor(max(self._asked, SAVE if self._is_due() else NOTHING))
        dist.all_reduce(asked, 'max')
        if asked != NOTHING:
            self._save(runner, iteration, by_epoch)
        if asked == SAVE_AND_END:
            raise Preempted(
                f'ended by SIGTERM after iteration {iteration}, which is saved: the same command with --resume '
                'continues'
            )

    def _is_due(self) -> bool:
        return dist.is_main_process() and time.monotonic() - self._saved_at > self.seconds

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; outside training iterations there is nothing to save."""
        if number == signal.SIGTERM and not self._iterating:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._asked = max(self._asked, SAVE_AND_END if number == signal.SIGTERM else SAVE)

    @staticmethod
    def _folder(runner: Runner) -> Path:
        """Where mmengine's hook puts checkpoints."""
        return Path(next((h.out_dir for h in runner.hooks if isinstance(h, CheckpointHook)), runner.work_dir))

    def _save(self, runner: Runner, iteration: int, by_epoch: bool) -> None:
        self._asked = NOTHING
        path = self._folder(runner) / f'interim_{iteration}.pth'
        runner.save_checkpoint(str(path.parent), path.name, by_epoch=by_epoch)
        if dist.is_main_process():
            with atomic_path(Path(runner.work_dir, 'last_checkpoint')) as temporary:
                temporary.write_text(str(path))
            for old in set(path.parent.glob('interim_*.pth')) - {path}:
                old.unlink()
        print_log(f'checkpoint {path.name}, beside those of epochs', 'current')


def accumulated(runner: Runner) -> int:
    """Iterations whose gradients make one step."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)


@functools.cache
def _shield_workers() -> None:
    """Keep signals to a whole job from the loader's workers: a run whose workers are gone cannot end its iteration."""
    os.register_at_fork(after_in_child=_block_signals)
    # at its end, Python would ask them to end by a signal that they do not get
    atexit.register(_kill_children)


def _block_signals() -> None:
    if InterruptionHook.listening:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _kill_children() -> None:
    # torch's handler takes the end of a worker for an accident
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        child.kill()
