"""Run a function right before or after a module is imported, without importing it now.

Repairs of torch, mmdet3d and spconv need those modules, which take seconds to import; `import peridot` stays quick
because each of these repairs waits for the import of the module that it repairs.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
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
        """Spec of the module with a loader that calls `action`; None for other modules."""
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


class _Forerunner(MetaPathFinder):
    """Calls `action` when one module is looked for the first time, and finds what `action` entered under its name."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self.name = name
        self.action = action
        self._acted = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Call `action` the first time; the spec of the module that it entered, None without one."""
        if fullname != self.name or self._acted:
            return None
        # the action itself may look for the module
        self._acted = True
        self.action()
        return sys.modules[fullname].__spec__ if fullname in sys.modules else None


class Made(Loader):
    """Loader of a module that an action of `before_import` entered: the import that goes on takes it as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that was entered."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run."""


_arranged: set[tuple[str, Callable]] = set()


def before_import(name: str, action: Callable[[], None]) -> bool:
    """Call `action()` when module `name` is looked for the first time, for an import or by `find_spec`.

    Args:
        name: Dotted module name. If the module is imported already, nothing ever happens.
        action: May enter a module of that name into `sys.modules`, which is taken then.

    Returns:
        False if the same was arranged before; then nothing is done.
    """
    if (name, action) in _arranged:
        return False
    _arranged.add((name, action))
    sys.meta_path.insert(0, _Forerunner(name, action))
    return True


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
