"""Configs as mmengine prints them into checkpoints."""

import ast

from mmengine.config import ConfigDict


def literal_config(text: str) -> ConfigDict:
    """Read a config as mmengine prints it (`Config.pretty_text`), without running it.

    Raises:
        ValueError: The text is more than assignments of literals and `dict(...)`.
    """
    try:
        lines = ast.parse(text).body
        return ConfigDict({line.targets[0].id: _literal(line.value) for line in lines})
    except (AttributeError, SyntaxError) as error:
        raise ValueError(f'not a printed config: {error}') from error


def _literal(node: ast.expr):
    if isinstance(node, ast.Call):
        if getattr(node.func, 'id', None) == 'dict':
            return dict(*map(_literal, node.args), **{word.arg: _literal(word.value) for word in node.keywords})
        raise ValueError(f'line {node.lineno} calls a function')
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)
