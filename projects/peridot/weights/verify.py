"""Checks that weights are in a network."""

import logging
from collections.abc import Mapping
from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from peridot.checkpoints import meta_of, read_checkpoint, state_of
from peridot.errors import CheckpointError, ConfigError
from peridot.weights.report import LoadReport, compare, conflicts
from peridot.weights.settings import settings_differences


def verify_loading(
    model: nn.Module, checkpoint: str | Path | Mapping, min_fraction: float = 1.0, settings: str = 'error'
) -> LoadReport:
    """Compare a model, after loading and before training, with the file its weights should have come from.

    Values are compared, not names: mmengine reports tensors that it could not load in its log only, and mmdet3d
    loads none of the sparse kernels of a file in the wrong layout.

    Args:
        model: Any model of mmdet3d, or a wrapper around it.
        checkpoint: File, or its content.
        min_fraction: Fraction of the student's tensors that must have arrived, from 0 to 1. Counted are those of the
            file, and those that the file lacks of the modules it has.
        settings: 'error' or 'warn', what to do when the file says that it was pre-trained with other voxels, range
            or input columns than the model reads.

    Returns:
        The report; it is logged too.

    Raises:
        CheckpointError: Fewer tensors arrived, or the settings differ.
        ConfigError: `min_fraction` or `settings` is none of those values.
    """
    check_arguments(min_fraction, settings)
    loaded = isinstance(checkpoint, Mapping)
    content, source = (checkpoint, 'checkpoint') if loaded else (read_checkpoint(checkpoint), str(checkpoint))
    return verify_content(unwrap(model), content, source, min_fraction, settings)


def check_arguments(min_fraction: float, settings: str) -> None:
    """Raise a ConfigError for values that `verify_loading` does not take."""
    if not 0 <= min_fraction <= 1:
        raise ConfigError(f'VerifyLoadingHook: min_fraction={min_fraction!r}: set a fraction from 0 to 1')
    if settings not in ('error', 'warn'):
        raise ConfigError(f"VerifyLoadingHook: settings={settings!r}: set 'error' or 'warn'")


def verify_content(model: nn.Module, content: Mapping, source: str, min_fraction: float, settings: str) -> LoadReport:
    """`verify_loading` of a checkpoint that was read already, in an unwrapped model; `source` names it in errors."""
    report = compare(model, state_of(content, model.state_dict()), source)
    print_log(report.table(), 'current')
    meta = meta_of(content)
    differences = settings_differences(meta.get('input_settings') or {}, model)
    if report.fraction < min_fraction or not report.total:
        raise CheckpointError('; '.join([report.problem(), *differences]))
    if differences:
        text = f'{source}: {"; ".join(differences)}'
        if settings == 'error':
            raise CheckpointError(f"{text}; or accept it with settings='warn' of VerifyLoadingHook")
        print_log(text, 'current', logging.WARNING)
    if meta.get('input_features'):
        print_log(f'{source} was pre-trained on {meta["input_features"]}', 'current')
    return report


def check_same_network(model: nn.Module, content: Mapping) -> None:
    """Raise a CheckpointError unless a checkpoint holds every tensor of a model with its shape.

    mmengine loads with `strict=False`: weights of another network give only a line in the log, and the run continues
    with random ones.
    """
    wanted = unwrap(model).state_dict()
    found = state_of(content, wanted)
    missing = [name for name in wanted if name not in found]
    clashes = conflicts(wanted, found)
    if missing or clashes:
        if missing:
            first = f'first missing: {missing[0]}'
        else:
            name, (ours, theirs) = next(iter(clashes.items()))
            first = f'{name} is {ours} in the file and {theirs} in the model'
        raise CheckpointError(
            f'checkpoint of another network: {len(wanted) - len(missing) - len(clashes)} of {len(wanted)} '
            f'tensors fit ({first}); load_from/--resume must name a checkpoint of this config'
        )


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside wrappers for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
