"""Check of a run before its networks are built."""

from __future__ import annotations

import logging
import os

import torch
from mmengine import dist
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import init_default_scope

from peridot.errors import ConfigError, DataError
from peridot.preflight.inputs import check_files
from peridot.preflight.maps import check_training_maps
from peridot.preflight.sources import (
    FIT,
    PICTURE,
    PICTURE_HOOKS,
    TRAINING,
    VALIDATION,
    picture_hooks,
    sources_of,
)
from peridot.preflight.survey import LOOKED_AT, Survey, survey

# what is set to None when a probe cannot work
PROBE = ('val_cfg', 'val_dataloader', 'val_evaluator')
# where other launchers than torchrun state the number of processes
PROCESSES = {'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}


def preflight(config: Config, training: bool = True, everything: bool = False) -> list[str]:
    """Look at everything that a run will read.

    A probe or picture of pre-training that cannot work is switched off.

    Args:
        config: Config of the run; changed in place where something is switched off.
        training: A training run; otherwise a test.
        everything: Look for the files of all samples instead of some.

    Returns:
        A warning for each thing that was switched off.

    Raises:
        PeridotError: The run cannot work.
    """
    wanted = ('train_dataloader',) if training else ('test_dataloader', 'val_dataloader')
    if not any(config.get(key) for key in wanted):
        work = 'trained' if training else 'evaluated'
        raise ConfigError(f'{config.filename} has no {" or ".join(wanted)}, so nothing can be {work} with it')
    check_settings(config, training)
    init_default_scope(config.get('default_scope', 'mmdet3d'))
    surveys = survey(sources_of(config, training), None if everything else LOOKED_AT)
    warnings = _switch_off(config, surveys, training)
    for item in surveys:
        if item.problems and not _is_off(config, item.source.use):
            raise DataError(f'{item.source.use} data: {item.problems[0]}')
    if training:
        check_training_maps(config)
        _check_batches(config, surveys)
    return warnings


def report_warnings(warnings: list[str]) -> None:
    """Log what was switched off, once the processes of a run know each other.

    Raises:
        DataError: Not all processes have switched off the same: they would wait for each other.
    """
    if len(set(map(tuple, dist.all_gather_object(warnings)))) > 1:
        raise DataError('the processes do not see the same data: copy the dataset to all machines, or share its folder')
    for warning in warnings:
        print_log(warning, 'current', logging.WARNING)


def check_settings(config: Config, training: bool) -> None:
    """Check settings and single files: precision, weights, text vectors, objects that detectors paste.

    Raises:
        PeridotError: One of them is missing or wrong.
    """
    if training:
        _check_precision(config)
    check_files(config, training)


def _check_precision(config: Config) -> None:
    wrapper = config.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
        raise ConfigError(
            'mixed precision (optim_wrapper.type=AmpOptimWrapper, --amp) needs a GPU, and torch finds none: leave '
            '--amp out, or set optim_wrapper.type=OptimWrapper in the config'
        )


def _switch_off(config: Config, surveys: list[Survey], training: bool) -> list[str]:
    """Switch off pictures, and the probe of a training, that lack data; returns a warning for each."""
    warnings = []
    problems = {item.source.use: item.problems[0] for item in surveys if item.problems}
    if picture_hooks(config) and not config.get('picture_dataset'):
        problems[PICTURE] = 'the config has no picture_dataset'
    probe = next((problems[use] for use in (VALIDATION, FIT) if use in problems), None)
    if training and probe and str((config.get('val_cfg') or {}).get('type')).startswith('peridot.'):
        warnings.append(f'{config.val_cfg.type} is switched off: {probe}')
        config.merge_from_dict(dict.fromkeys(PROBE))
    if PICTURE in problems:
        warnings.append(f'pictures are switched off: {problems[PICTURE]}')
        config.custom_hooks = [hook for hook in config.custom_hooks if hook.get('type') not in PICTURE_HOOKS]
    return warnings


def _is_off(config: Config, use: str) -> bool:
    return use == PICTURE or (use in (VALIDATION, FIT) and config.get('val_dataloader') is None)


def _check_batches(config: Config, surveys: list[Survey]) -> None:
    """Refuse a training set that is smaller than one batch of every process.

    Raises:
        DataError: It is.
    """
    loader = config.train_dataloader
    samples = _length(loader.dataset, {id(item.source.settings): item for item in surveys})
    processes = int(os.environ.get(PROCESSES.get(config.get('launcher'), 'WORLD_SIZE'), 1))
    size, endless = loader.get('batch_size'), 'Infinite' in str((loader.get('sampler') or {}).get('type'))
    if samples is None or not loader.get('drop_last') or not size or endless:
        return
    if -(-samples // processes) < size:
        raise DataError(
            f'the training set has {samples} samples, less than a batch of {size} in each of {processes} processes: '
            f'nothing would be trained: set --cfg-options train_dataloader.batch_size={max(1, samples // processes)}'
        )


def _length(dataset: ConfigDict, found: dict[int, Survey]) -> int | None:
    """Samples of a dataset; None if only the dataset itself can tell."""
    if dataset.get('type') == 'peridot.MixedDataset':
        lengths = [_length(part, found) for part in dataset.datasets]
        return None if None in lengths else sum(lengths)
    if dataset.get('type') == 'peridot.LabelFraction':
        return _length(dataset.dataset, found)
    item = found.get(id(dataset))
    if item is None or item.source.use != TRAINING or not item.source.is_known:
        return None
    wanted = dataset.get('indices')
    if wanted is not None:
        return min(wanted, item.samples) if isinstance(wanted, int) else len(wanted)
    return item.samples
