"""Check that pre-trained weights are in the network."""

import logging
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from peridot.checkpoints import meta_of, read_checkpoint
from peridot.errors import CheckpointError
from peridot.options import value_at
from peridot.registry import HOOKS
from peridot.weights import LoadReport, other_intensities, unwrap
from peridot.weights.verify import check_arguments, verify_content


@HOOKS.register_module()
class VerifyLoadingHook(Hook):
    """Stops a run whose pre-trained weights did not arrive, see `verify_loading`.

    The weights are those of `load_from`; a resumed run is not checked. For a test, the file must
    hold all tensors of the model.

    Args:
        min_fraction: See `verify_loading`.
        checkpoint: File that a network's `init_cfg` names; `load_from` takes precedence.
        settings: 'error' or 'warn', for other voxels, range or input columns than in pre-training.
    """

    priority = 'VERY_HIGH'

    def __init__(self, min_fraction: float = 1.0, checkpoint: str | None = None, settings: str = 'error') -> None:
        check_arguments(min_fraction, settings)
        self.min_fraction = min_fraction
        self.checkpoint = checkpoint
        self.settings = settings
        self._done = False
        # content of load_from, kept until it is checked
        self._loaded: Mapping | None = None
        # what the weights were pre-trained on, until the first batch is compared with it
        self._features: Mapping | None = None

    def before_run(self, runner) -> None:
        """Read local files before mmengine does, so that an absent or damaged one gives a one-line error."""
        for path in (runner._load_from, self.checkpoint):
            if path and '://' not in str(path):
                read_checkpoint(path)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the content of the checkpoint."""
        self._loaded = checkpoint

    def before_train(self, runner) -> None:
        """Check before the first iteration."""
        self._check(runner, self.checkpoint)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Compare the intensities of the first batch with those of pre-training."""
        if self._features is not None:
            inputs = data_batch['inputs']
            text = other_intensities(self._features, inputs.get('points', ()) if isinstance(inputs, Mapping) else ())
            if text:
                print_log(text, 'current', logging.WARNING)
            self._features = None

    def before_val(self, runner) -> None:
        """Check a validation without training."""
        self._check_full(runner)

    def before_test(self, runner) -> None:
        """Check a test."""
        self._check_full(runner)

    def _check(self, runner, initial: str | None) -> LoadReport | None:
        if self._done:
            return None
        self._done = True
        content, self._loaded = self._loaded, None
        if runner._resume and content is not None:
            return None
        if content is None and initial is not None:
            content = read_checkpoint(initial)
        if content is not None:
            self._features = meta_of(content).get('input_features')
            return verify_content(
                unwrap(runner.model), content, str(runner._load_from or initial), self.min_fraction, self.settings
            )
        print_log('no weights were loaded: the network starts from random ones', 'current')
        if any(_is_pretrained(module) for module in runner.model.modules()):
            text = 'except where init_cfg names a file, which VerifyLoadingHook(checkpoint=FILE) would check'
            print_log(text, 'current', logging.WARNING)
        elif other := other_settings_of_random_starts(runner.cfg):
            text = f'random starts have other settings in this protocol: add --cfg-options {" ".join(other)}'
            print_log(text, 'current', logging.WARNING)
        return None

    def _check_full(self, runner) -> None:
        report = self._check(runner, None)
        if report is not None and report.missing:
            raise CheckpointError(
                f'{report.source} has no {report.missing[0]} and {len(report.missing) - 1} other tensors of the model: '
                'a test needs a checkpoint of a training run'
            )


def other_settings_of_random_starts(config: Config) -> list[str]:
    """Those of a config's `random_init_options` that it does not have, as KEY=VALUE."""
    wanted = config.get('random_init_options') or {}
    return [f'{key}={value}' for key, value in wanted.items() if value_at(config, key) != value]


def _is_pretrained(module: nn.Module) -> bool:
    settings = getattr(module, 'init_cfg', None)
    settings = settings if isinstance(settings, list) else [settings]
    return any(isinstance(entry, Mapping) and entry.get('type') == 'Pretrained' for entry in settings)
