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
# those of them that are text, whatever they look like
TEXTS = frozenset(('experiment_name', 'load_from', 'work_dir'))
BRACKETS = {'[': ']', '(': ')'}
QUOTES = ('"', "'")
# a quoted item, from comma to comma, or any sign
_TOKEN = re.compile(r"""(?:^|(?<=[\[(,]))\s*(["']).*?\1(?=\s*(?:[,\])]|$))|.""", re.DOTALL)
ABSENT = object()


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


def parse_value(text: str, key: str = '') -> Any:
    """Value of a setting: number, bool, None, list, tuple or text, as mmengine's `DictAction` reads them.

    Unlike there, blanks stay, quoted text is taken as it is, and so is the path of an existing file with commas.

    Args:
        text: As it was given; text that looks like a list is quoted twice, `"'[a]'"`.
        key: Name of the setting, for the error.

    Raises:
        ConfigError: Brackets of a list do not match.
    """
    if (',' not in text and not text.startswith((*BRACKETS, *QUOTES))) or os.path.exists(text):
        return DictAction._parse_int_float_bool(text)
    try:
        return _parse(text)
    except ValueError as error:
        raise ConfigError(f'{key}={text}: {error}: correct it, or put text with brackets in quotes') from None


def _parse(text: str) -> Any:
    text = text.strip()
    items = _items(text)
    if len(items) > 1 or text.endswith(','):
        return [_parse(item) for item in items]
    if _in_brackets(text):
        values = [_parse(item) for item in _items(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    if _in_quotes(text):
        return _parse(text[1:-1]) if _in_brackets(text[1:-1]) else _unquoted(text)
    return DictAction._parse_int_float_bool(text)


def _items(text: str) -> list[str]:
    """Parts of a text between its commas, except those in brackets or quotes; a comma at the end adds none."""
    items, open_ones, begin = [], '', 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in BRACKETS:
            open_ones += sign
        elif sign in BRACKETS.values():
            if BRACKETS.get(open_ones[-1:]) != sign:
                raise ValueError(f'{sign} closes nothing')
            open_ones = open_ones[:-1]
        elif sign == ',' and not open_ones:
            items.append(text[begin : token.start()])
            begin = token.end()
    if open_ones:
        raise ValueError(f'{open_ones[-1]} is not closed')
    return [*items, text[begin:]] if text[begin:].strip() else items


def _in_brackets(text: str) -> bool:
    return len(text) > 1 and BRACKETS.get(text[0]) == text[-1]


def _in_quotes(text: str) -> bool:
    return len(text) > 1 and text[0] in QUOTES and text[0] == text[-1]


def _unquoted(text: str) -> str:
    """Text without its quotes, or without both where it has two inside each other."""
    inside = text[1:-1] if _in_quotes(text) else text
    return inside[1:-1] if _in_quotes(inside) and inside != text else inside


def setting(key: str, value: str | os.PathLike) -> str:
    """`key=value` with a text that `parse_value` gives back as it is."""
    text = os.fspath(value)
    if re.fullmatch(r'[^\s,()\[\]\'"]+', text) and parse_value(text) == text:
        return f'{key}={text}'
    quote, other = QUOTES if QUOTES[0] not in text else reversed(QUOTES)
    if text.startswith((*BRACKETS, *QUOTES)):
        text = f'{other}{text}{other}'
    return f'{key}={quote}{text}{quote}'


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
    old = value_at(config, key)
    if isinstance(old, str) or key in TEXTS:
        return _in_place_of_text(text)
    new = parse_value(text, f'--cfg-options {key}')
    wanted = _wrong_kind(old, new)
    if wanted:
        raise ConfigError(f'--cfg-options {key}={text}: the config has {old!r} there: give {wanted}')
    return new


def _in_place_of_text(text: str) -> str | bool | None:
    """The text itself, with its commas and digits: it is a path or a name; bool and None switch a setting off."""
    value = DictAction._parse_int_float_bool(text)
    return value if value is None or isinstance(value, bool) else _unquoted(text)


def _wrong_kind(old: Any, new: Any) -> str | None:
    """What should have been given in place of a value, None if it may replace the old one."""
    if new is None:
        return None
    if isinstance(old, bool):
        return None if new in (0, 1) else 'True or False'
    if isinstance(old, Number):
        return None if isinstance(new, Number) else 'a number'
    if isinstance(old, (list, tuple)):
        return None if isinstance(new, (list, tuple)) else 'a list, [A,B]'
    if isinstance(old, dict):
        return 'single settings of it, KEY.NAME=VALUE'
    return None


def value_at(config: Config, key: str) -> Any:
    """The value that a key like `optim_wrapper.optimizer.lr` leads to now, `ABSENT` if there is none."""
    settings = config._cfg_dict
    for part in key.split('.'):
        if isinstance(settings, (list, tuple)) and part.isdigit() and int(part) < len(settings):
            settings = settings[int(part)]
        elif isinstance(settings, dict) and part in settings:
            settings = settings[part]
        else:
            return ABSENT
    return settings
