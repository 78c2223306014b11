"""The API reference says what a config can name.

`{config-types} TRANSFORMS` lists the classes of a registry; `{config-types} MODELS peridot.models.teachers` those of it
that are defined below a module. A class that no page documents is a warning, because its row links to it. At each class
stands how a config names it, and formulas of docstrings keep their lines.
"""

import inspect
from importlib import import_module

from docutils import nodes
from docutils.statemachine import StringList
from mmengine.registry import Registry
from peridot import registry
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

REGISTRIES = [name for name, item in vars(registry).items() if isinstance(item, Registry)]


def types_of(name: str, module: str = '') -> dict[str, object]:
    """Classes and functions of a registry, by their names in configs.

    Args:
        name: Of the registry in `peridot.registry`.
        module: Those that are defined in this module or package; '' for all.
    """
    found: Registry = getattr(registry, name)
    found.import_from_location()
    # label generators are named on the command line
    scope = '' if found is registry.LABEL_GENERATORS else f'{found.scope}.'
    return {
        scope + key: item
        for key, item in sorted(found.module_dict.items(), key=lambda entry: entry[0].lower())
        if not module or f'{item.__module__}.'.startswith(f'{module}.')
    }


def documented_name(item: object) -> str:
    """Path of a class as its page has it: in the outermost package below `peridot` that exports it."""
    parts = item.__module__.split('.')
    packages = ['.'.join(parts[:end]) for end in range(2, len(parts))]
    exporting = [name for name in packages if item.__name__ in getattr(import_module(name), '__all__', [])]
    return f'{exporting[0] if exporting else item.__module__}.{item.__name__}'


class ConfigTypes(SphinxDirective):
    """A table of names in configs, with the first paragraph of each docstring."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        lines = ['```{eval-rst}', '.. list-table::', '   :widths: 36 64', '   :class: types', '']
        for name, item in types_of(*self.arguments).items():
            role = 'class' if inspect.isclass(item) else 'func'
            summary = ' '.join(inspect.getdoc(item).split('\n\n')[0].split()).rstrip(':')
            lines += [f'   * - :py:{role}:`{name} <{documented_name(item)}>`', f'     - {summary}']
        container = nodes.container()
        self.state.nested_parse(StringList([*lines, '```']), self.content_offset, container)
        return container.children


def keep_formulas(lines: list[str]) -> None:
    """Mark indented paragraphs of a docstring as text whose lines stay as they are."""
    for row in range(len(lines) - 1, 1, -1):
        before = lines[row - 2]
        if lines[row].startswith(' ') and not lines[row - 1].strip() and before.strip() and not before.startswith(' '):
            lines[row - 1 : row] = ['', '::', '']


def edit_docstring(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Keep formulas, and say below the first paragraph of a registered class how it is named."""
    keep_formulas(lines)
    names = [key for found in REGISTRIES for key, kind in types_of(found).items() if kind is item]
    how = [f"In configs: ``type='{key}'``." if '.' in key else f'Its name: ``{key}``.' for key in names]
    if how:
        end = lines.index('') if '' in lines else len(lines)
        lines[end:end] = ['', *how]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and the event before napoleon reads a docstring."""
    app.add_directive('config-types', ConfigTypes)
    app.connect('autodoc-process-docstring', edit_docstring, priority=1)
    return {'parallel_read_safe': True}
