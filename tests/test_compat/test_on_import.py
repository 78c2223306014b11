import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from peridot.compat.on_import import Made, after_import, before_import


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / 'watched_package').mkdir()
    (tmp_path / 'watched_package' / '__init__.py').write_text('')
    (tmp_path / 'watched_package' / 'inner.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield 'watched_package.inner'
    sys.meta_path[:] = before
    for name in ('watched_package', 'watched_package.inner'):
        sys.modules.pop(name, None)


def test_acts_after_the_import_and_not_before(module):
    seen = []
    assert after_import(module, lambda imported: seen.append(imported.value))
    assert seen == []
    assert module not in sys.modules
    importlib.import_module(module)
    assert seen == [1]


def test_acts_at_once_on_an_imported_module(module):
    importlib.import_module(module)
    seen = []
    after_import(module, lambda imported: seen.append(imported.value))
    assert seen == [1]


def test_several_actions_each_act_and_none_is_arranged_twice(module):
    seen = []

    def first(imported):
        seen.append('first')

    assert after_import(module, first)
    assert not after_import(module, first)
    assert after_import(module, lambda imported: seen.append('second'))
    importlib.import_module(module)
    assert sorted(seen) == ['first', 'second']


def test_absent_module_stays_absent():
    after_import('watched_package_that_is_absent', lambda imported: None)
    with pytest.raises(ModuleNotFoundError, match='watched_package_that_is_absent'):
        importlib.import_module('watched_package_that_is_absent')


def test_acts_before_the_import_once(module):
    seen = []
    assert before_import(module, lambda: seen.append(module in sys.modules))
    assert seen == []
    assert importlib.import_module(module).value == 1
    del sys.modules[module]
    importlib.import_module(module)
    assert seen == [False]


def test_an_import_takes_what_was_entered_before_it(module):
    made = ModuleType(module)
    made.__spec__ = ModuleSpec(module, Made(made))
    before_import(module, lambda: sys.modules.update({module: made}))
    assert importlib.import_module(module) is made and not hasattr(made, 'value')


def test_what_acts_before_an_import_may_look_for_the_module(module):
    found = []
    before_import(module, lambda: found.append(importlib.util.find_spec(module)))
    assert importlib.import_module(module).value == 1
    assert found[0].name == module


def test_none_is_arranged_twice_before_an_import(module):
    def action():
        pass

    assert before_import(module, action)
    assert not before_import(module, action)
