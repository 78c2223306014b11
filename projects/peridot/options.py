"""Settings given on the command line as key=value, in place of those of a config."""

import argparse
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from mmengine.config import Config, DictAction

from peridot.errors import ConfigError

# settings of mmengine's Runner that a config may leave out
RUNNER_KEYS = frozenset(
    """auto_scale_lr compile custom_hooks custom_imports data_preprocessor default_hooks default_scope env_cfg
    experiment_name launcher load_from log_level log_processor model model_wrapper_cfg optim_wrapper param_scheduler
    randomness resume sync_bn test_cfg test_dataloader test_evaluator train_cfg train_dataloader val_cfg
    val_dataloader val_evaluator vis_backends visualizer work_dir""".split()  # noqa: SIM905
)
_ABSENT = object()


class KeyValues(argparse.Action):
    """Collects arguments `key=value` as `{key: text}`; `override` and `parse_value` read the texts."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Sequence[str], option: str
    ) -> None:
        """Add the arguments to those given before."""
        given = dict(getattr(namespace, self.dest, None) or {})
        for item in values:
            key, sign, text = item.partition('=')
            if not key or not sign:
                parser.error(f'{option} {item}: write key=value')
            given[key] = text
        setattr(namespace, self.dest, given)


def parse_value(text: str) -> Any:
    """Value of a setting: number, bool, None, list, tuple or text, as mmengine's `DictAction` reads them.

    Unlike there, blanks stay, quoted text is taken as it is, and so is the path of an existing file with commas.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"' and text[1] not in '[(':
        return text[1:-1]
    if (',' in text or text[:1] in '[(\'"') and not os.path.exists(text):
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text)


def setting(key: str, value: str | os.PathLike) -> str:
    """`key=value` with a text that `parse_value` gives back as it is."""
    text = os.fspath(value)
    return f'{key}={text}' if re.fullmatch(r'[^\s,()\[\]\'"]+', text) else f'{key}="{text}"'


def override(config: Config, given: Mapping[str, str]) -> None:
    """Replace settings of a config.

    Args:
        config: Changed in place.
        given: Texts by key, e.g. `{'train_dataloader.dataset.pipeline.4.delta': '0.4'}`.

    Raises:
        ConfigError: A key leads nowhere, or a value is of another kind than the one it replaces.
    """
    values = {key: _value_for(config, key, text) for key, text in given.items()}
    try:
        config.merge_from_dict(values)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise ConfigError(f'--cfg-options {" ".join(given)}: {reason}: check these keys') from None


def _value_for(config: Config, key: str, text: str) -> Any:
    first = key.split('.')[0]
    if first not in config and first not in RUNNER_KEYS:
        near = difflib.get_close_matches(first, [*config, *RUNNER_KEYS], 1)
        hint = f'did you mean {near[0]}?' if near else 'check the key'
        raise ConfigError(f'--cfg-options {key}={text}: {config.filename or "the config"} has no {first!r}: {hint}')
    old, new = _current(config._cfg_dict, key), parse_value(text)
    if isinstance(old, str) and isinstance(new, list):
        return text  # a comma in a path
    wanted = _wrong_kind(old, new)
    if wanted:
        raise ConfigError(f'--cfg-options {key}={text}: the config has {old!r} there: give {wanted}')
    return new


def _wrong_kind(old: Any, new: Any) -> str | None:
    """What should have been given in place of a value, None if it may replace the old one."""
    if isinstance(old, bool):
        return None if new is None or new in (0, 1) else 'True or False'
    if isinstance(old, Number):
        return 'a number' if isinstance(new, str) else None
    if isinstance(old, (list, tuple)):
        return 'a list, [A,B]' if isinstance(new, str) else None
    if isinstance(old, dict):
        return 'single settings of it, KEY.NAME=VALUE' if isinstance(new, (Number, list, tuple)) else None
    return None


def _current(settings: Any, key: str) -> Any:
    """The value that a key leads to now, `_ABSENT` if there is none."""
    for part in key.split('.'):
        if isinstance(settings, (list, tuple)) and part.isdigit() and int(part) < len(settings):
            settings = settings[int(part)]
        elif isinstance(settings, dict) and part in settings:
            settings = settings[part]
        else:
            return _ABSENT
    return settings
