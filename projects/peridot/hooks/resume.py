"""Continuing a training run that was interrupted, also where its batches or its folder have changed since."""

import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from peridot.errors import CheckpointError, ConfigError
from peridot.hooks.train_loop import TrainLoop
from peridot.optim import rescaled_schedule
from peridot.registry import HOOKS
from peridot.weights import unwrap

# what a scheduler knows about its position; everything else are its settings
POSITION = ('last_step', '_global_step', '_last_value')


@HOOKS.register_module()
class ResumeHook(Hook):
    """Lets a resumed run have the learning rates that an undisturbed run of its config has at the same epoch.

    mmengine restores schedulers as they were saved, with their lengths in iterations. With another batch size, number
    of processes or amount of data an epoch has another number of iterations: these schedules then end early or never
    reach their end. Here the run's iterations are counted as if its epochs had always had today's length, schedules
    are built from the config and brought to that epoch, and the model's `rescale_steps`, if it has one, adjusts its
    own counters. Lengths that a config gives in iterations keep their share of an epoch: they mean epochs of the
    length with which the run began, which checkpoints hold as `meta['epoch_length']`.

    A learning rate or schedule that was changed in the config counts, too. With `TrainLoop` a checkpoint from within an
    epoch continues where it was saved, with other loops at the beginning of this epoch. Loops by iteration and several
    optimizers are left to mmengine.

    Checkpoints of the run that is continued elsewhere stay as they are.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        # iterations of an epoch when the run began
        self._begun: int | None = None
        self._stored: list[dict] | None = None
        self._fresh: list[dict] | None = None
        # new iterations for each old one
        self._ratio = 1.0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the length that iterations in the config refer to."""
        if self._begun is not None:
            checkpoint['meta']['epoch_length'] = self._begun

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change counters before mmengine reads them, and build the schedulers for today's epochs.

        Raises:
            CheckpointError: The file holds weights alone.
            ConfigError: A scheduler cannot be brought to epochs of another length.
        """
        if not runner._resume:
            return
        path = runner._load_from or find_latest_checkpoint(runner.work_dir)
        check_resumable(checkpoint, path)
        keep_own_best(checkpoint['message_hub'].get('runtime_info', {}), checkpoint_folders(runner))
        keep_order(runner, checkpoint['meta'].get('seed'))
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) or isinstance(runner.optim_wrapper, OptimWrapperDict):
            return
        old, new = epoch_length(checkpoint), len(runner.train_dataloader)
        self._begun = checkpoint['meta'].get('epoch_length', old)
        self._stored = checkpoint.pop('param_schedulers', None) if 'optimizer' in checkpoint else None
        self._count(checkpoint['meta'], old, new, within=isinstance(runner.train_loop, TrainLoop))
        self._build(runner, new)
        self._fresh = [rates(group) for group in runner.optim_wrapper.param_groups]

    def before_train(self, runner: Runner) -> None:
        """Bring the schedulers to the epoch of the checkpoint."""
        if self._fresh is None:
            self._begun = len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else None
            return
        model = unwrap(runner.model)
        if self._ratio != 1 and hasattr(model, 'rescale_steps'):
            model.rescale_steps(self._ratio)
        schedulers, groups = runner.param_schedulers or [], runner.optim_wrapper.param_groups
        by_iteration = any(not scheduler.by_epoch for scheduler in schedulers)
        if same_settings(schedulers, self._stored) and not (by_iteration and self._ratio != 1):
            for scheduler, state in zip(schedulers, self._stored):
                scheduler.load_state_dict(state)
        else:
            self._replay(runner, schedulers, groups)
        self._stored = self._fresh = None

    def _count(self, meta: dict, old: int, new: int, within: bool) -> None:
        """Set the checkpoint's epoch and iteration, in epochs of `new` iterations in place of `old`.

        Args:
            meta: Of the checkpoint.
            old: Iterations of an epoch in the run that wrote it.
            new: Those in this run.
            within: Whether a run can continue within an epoch.
        """
        before = meta['iter']
        if before == (meta['epoch'] + 1) * old:
            # saved after the last iteration of an epoch, which schedulers do not know to be over
            meta['epoch'] += 1
            self._stored = None
        done = (before - meta['epoch'] * old) * new // old if within else 0
        meta['iter'] = meta['epoch'] * new + done
        self._ratio = meta['iter'] / before if before else 1.0
        if old != new:
            print_log(
                f'the checkpoint is of a run with {old} iterations an epoch, this one has {new} (other batch size, '
                f'number of processes or data): it continues as iteration {meta["iter"]} instead of {before}, with the '
                'learning rate that its schedule has there; --auto-scale-lr also adjusts that to the batch',
                'current',
                logging.WARNING,
            )
        elif meta['iter'] != before:
            print_log(
                f'the checkpoint is from within epoch {meta["epoch"] + 1} (iteration {before}): the epoch is repeated '
                f'from its beginning, iteration {meta["iter"]}',
                'current',
                logging.WARNING,
            )

    def _build(self, runner: Runner, length: int) -> None:
        """Build the schedulers again if their config has lengths in iterations of other epochs."""
        configs = runner.cfg.get('param_scheduler') or []
        configs = [configs] if isinstance(configs, Mapping) else list(configs)
        changed = [rescaled_schedule(config, length / self._begun) for config in configs]
        if changed == configs:
            return
        for scheduler in runner.param_schedulers:
            for group in runner.optim_wrapper.param_groups:
                group[scheduler.param_name] = group[f'initial_{scheduler.param_name}']
        runner.param_schedulers = runner.build_param_scheduler(changed)

    def _replay(self, runner: Runner, schedulers: list, groups: list[dict]) -> None:
        """Step new schedulers as the epochs before the checkpoint would have."""
        stuck = next((s for s in schedulers if getattr(s, 'need_val_args', False)), None)
        if stuck is not None:
            raise ConfigError(
                f'--resume: {type(stuck).__name__} follows the metrics of the run and cannot be brought to the changed '
                f'schedule of this config, iteration {runner.iter} of {runner.max_iters}: resume with the settings, '
                'batch size and number of processes of the checkpoint'
            )
        before = groups[0]['lr']
        for group, fresh in zip(groups, self._fresh):
            group.update(fresh)
        with warnings.catch_warnings():
            # schedulers expect the optimizer to step in between
            warnings.simplefilter('ignore', UserWarning)
            for iteration in range(1, runner.iter + 1):
                _step(schedulers, by_epoch=False)
                if iteration % len(runner.train_dataloader) == 0:
                    _step(schedulers, by_epoch=True)
        if not math.isclose(before, groups[0]['lr'], rel_tol=1e-6):
            print_log(
                f'learning rate {groups[0]["lr"]:.4g} as this config says, {before:.4g} in the checkpoint',
                'current',
                logging.WARNING,
            )


def _step(schedulers: list, by_epoch: bool) -> None:
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


def check_resumable(checkpoint: Mapping, path: str) -> None:
    """Raise a CheckpointError unless a checkpoint holds the state of a run, not weights alone."""
    absent = next((key for key in ('meta', 'message_hub') if key not in checkpoint), None)
    absent = absent or next((key for key in ('epoch', 'iter') if key not in checkpoint['meta']), None)
    if absent:
        raise CheckpointError(
            f'--resume: {path} holds weights, but no state of a run ({absent} is absent): give an epoch_N.pth of '
            'tools/train.py, or start from the weights with --cfg-options load_from=FILE'
        )


def keep_order(runner: Runner, seed: int | None) -> None:
    """Let the sampler of a runner shuffle by the seed of a checkpoint, which becomes the runner's own after this."""
    sampler = runner.train_dataloader.sampler
    if seed is not None and getattr(sampler, 'seed', None) == runner.seed:
        sampler.seed = seed


def checkpoint_folders(runner: Runner) -> list[Path]:
    """Folders of this run in which checkpoints may lie: the work directory and its namesake in an `out_dir`."""
    work_dir = Path(runner.work_dir)
    others = [hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.out_dir]
    return [*(Path(folder, work_dir.name) for folder in others), work_dir]


def keep_own_best(info: dict, folders: list[Path]) -> None:
    """Forget best checkpoints that belong to another run, of which this one is a copy; their scores stay.

    Otherwise mmengine would delete them once there is a better one, or publish them where they lie. Files of the same
    name that were moved or copied along take their place.

    Args:
        info: What the message hub in a checkpoint knows of its run; changed.
        folders: Those of this run.
    """
    own = [folder.resolve() for folder in folders]
    for key, value in info.items():
        if key.startswith('best_ckpt') and value and Path(value).parent.resolve() not in own:
            files = (folder / Path(value).name for folder in folders)
            info[key] = next((str(file) for file in files if file.exists()), None)


def epoch_length(checkpoint: Mapping) -> int:
    """Iterations of an epoch in the run that wrote a checkpoint."""
    info, meta = checkpoint['message_hub'].get('runtime_info', {}), checkpoint['meta']
    if info.get('max_epochs') and info.get('max_iters'):
        return info['max_iters'] // info['max_epochs']
    return meta['iter'] // max(meta['epoch'], 1)


def rates(group: Mapping) -> dict:
    """The entries of a group of parameters that schedulers change or start from."""
    names = ('lr', 'momentum')
    return {k: v for k, v in group.items() if k in (*names, 'betas') or k.endswith(tuple(f'_{n}' for n in names))}


def same_settings(schedulers: list, stored: list[dict] | None) -> bool:
    """Whether schedulers differ from their stored states in nothing but their position."""
    return (
        stored is not None
        and len(schedulers) == len(stored) > 0
        and all(
            getattr(scheduler, 'need_val_args', False) or _settings(scheduler.state_dict()) == _settings(state)
            for scheduler, state in zip(schedulers, stored)
        )
    )


def _settings(state: Mapping) -> dict:
    return {name: value for name, value in state.items() if name not in POSITION}
