import importlib
import sys

import pytest
from peridot.compat.post_import import after_import


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
