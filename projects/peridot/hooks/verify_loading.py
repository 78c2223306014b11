"""Pre-trained weights: proof that they are in the network."""

import logging
from collections.abc import Mapping
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from peridot.errors import CheckpointError, ConfigError
from peridot.registry import HOOKS
from peridot.weights import LoadReport, compare, read_checkpoint, settings_differences, state_of, unwrap


def verify_loading(
    model: nn.Module, checkpoint: str | Path | Mapping, min_share: float = 1.0, settings: str = 'error'
) -> LoadReport:
    """Compare a model, after loading and before training, with the file its weights should have come from.

    Values are compared, not names: mmengine reports tensors that it could not load in its log only, and mmdet3d
    loads none of the sparse kernels of a file in the wrong layout.

    Args:
        model: Any model of mmdet3d, or a wrapper around it.
        checkpoint: File, or its content.
        min_share: Tensors of the student that must have arrived, from 0 to 1: those of the file, and those that the
            file lacks of the modules it has.
        settings: 'error' or 'warn', what to do when the file says that it was pre-trained with other voxels, range
            or input columns than the model reads.

    Returns:
        The report; it is logged too.

    Raises:
        CheckpointError: Fewer tensors arrived, or the settings differ.
        ConfigError: `min_share` or `settings` is none of those values.
    """
    _check_arguments(min_share, settings)
    whole = isinstance(checkpoint, Mapping)
    content, source = (checkpoint, 'checkpoint') if whole else (read_checkpoint(checkpoint), str(checkpoint))
    return _verify(unwrap(model), content, source, min_share, settings)


def _check_arguments(min_share: float, settings: str) -> None:
    if not 0 <= min_share <= 1:
        raise ConfigError(f'VerifyLoadingHook: min_share={min_share!r}: set a share from 0 to 1')
    if settings not in ('error', 'warn'):
        raise ConfigError(f"VerifyLoadingHook: settings={settings!r}: set 'error' or 'warn'")


def _verify(model: nn.Module, content: Mapping, source: str, min_share: float, settings: str) -> LoadReport:
    report = compare(model, state_of(content), source)
    print_log(report.table(), 'current')
    meta = content.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    differences = settings_differences(meta.get('input_settings') or {}, model)
    if report.share < min_share or not report.total:
        raise CheckpointError('; '.join([report.problem(), *differences]))
    if differences:
        text = f'{source}: {"; ".join(differences)}'
        if settings == 'error':
            raise CheckpointError(f"{text}; or accept it with settings='warn' of VerifyLoadingHook")
        print_log(text, 'current', logging.WARNING)
    if meta.get('input_features'):
        print_log(f'{source} was pre-trained on {meta["input_features"]}', 'current')
    return report


@HOOKS.register_module()
class VerifyLoadingHook(Hook):
    """Stops a run whose pre-trained weights did not arrive, see `verify_loading`.

    The weights are those of `load_from`; a resumed run is not looked at. A test wants all tensors of the model
    from the file.

    Args:
        min_share: See `verify_loading`.
        checkpoint: File that a network's `init_cfg` names; `load_from` goes first.
        settings: 'error' or 'warn', for other voxels, range or input columns than in pre-training.
    """

    priority = 'VERY_HIGH'

    def __init__(self, min_share: float = 1.0, checkpoint: str | None = None, settings: str = 'error') -> None:
        _check_arguments(min_share, settings)
        self.min_share = min_share
        self.checkpoint = checkpoint
        self.settings = settings
        self._done = False
        # content of load_from, from loading to the check
        self._loaded: Mapping | None = None

    def before_run(self, runner) -> None:
        """Read local files before mmengine does: an absent or damaged one is one line."""
        for path in (runner._load_from, self.checkpoint):
            if path and '://' not in str(path):
                read_checkpoint(path)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep what is being loaded."""
        self._loaded = checkpoint

    def before_train(self, runner) -> None:
        """Check before the first iteration."""
        self._check(runner, self.checkpoint)

    def before_val(self, runner) -> None:
        """Check a validation without training."""
        self._check_whole(runner)

    def before_test(self, runner) -> None:
        """Check a test."""
        self._check_whole(runner)

    def _check(self, runner, initial: str | None) -> LoadReport | None:
        if self._done:
            return None
        self._done = True
        content, self._loaded = self._loaded, None
        if runner._resume and content is not None:
            return None
        if content is not None:
            return _verify(unwrap(runner.model), content, str(runner._load_from), self.min_share, self.settings)
        if initial is not None:
            return verify_loading(runner.model, initial, self.min_share, self.settings)
        print_log('no weights were loaded: the network starts from random ones', 'current')
        if any(_is_pretrained(part) for part in runner.model.modules()):
            text = 'except where its init_cfg names a file, which VerifyLoadingHook(checkpoint=FILE) would check'
            print_log(text, 'current', logging.WARNING)
        return None

    def _check_whole(self, runner) -> None:
        report = self._check(runner, None)
        if report is not None and report.missing:
            raise CheckpointError(
                f'{report.source} has no {report.missing[0]} and {len(report.missing) - 1} other tensors of the model: '
                f'a test needs a checkpoint of a training'
            )


def _is_pretrained(module: nn.Module) -> bool:
    settings = getattr(module, 'init_cfg', None)
    settings = settings if isinstance(settings, list) else [settings]
    return any(isinstance(entry, Mapping) and entry.get('type') == 'Pretrained' for entry in settings)
