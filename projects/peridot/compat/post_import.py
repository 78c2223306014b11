"""Run a function right after a module was imported, without importing it now.

Repairs of mmdet3d and spconv classes need those modules, which take seconds to import; `import peridot` stays
quick because each of these repairs waits for the import of the module that it repairs.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Watcher(MetaPathFinder):
    """Finds one module the usual way and lets its loader call `action` once the module has run."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action
        self._searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_act(module: ModuleType) -> None:
            execute(module)
            self.action(module)

        spec.loader.exec_module = execute_then_act
        return spec


_arranged: set[tuple[str, Callable]] = set()


def after_import(name: str, action: Callable[[ModuleType], None]) -> bool:
    """Call `action(module)` now if module `name` is imported already, else right after its import.

    Args:
        name: Dotted module name; if it is absent from the environment, nothing ever happens.
        action: Receives the module. It has to tolerate a second call (after `importlib.reload`).

    Returns:
        False if the same was arranged before; then nothing is done.
    """
    if (name, action) in _arranged:
        return False
    _arranged.add((name, action))
    if name in sys.modules:
        action(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Watcher(name, action))
    return True
