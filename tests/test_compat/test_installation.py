import importlib
import importlib.metadata
from types import SimpleNamespace

import pytest
from peridot.compat import installation
from peridot.errors import PeridotError


def test_this_installation_is_fine():
    installation.check()
    installation.check_operators(importlib.import_module('mmcv'))


def test_the_import_of_mmcv_checks_its_operators(python):
    code = """
import importlib, peridot
load = importlib.import_module
def refuse(name, *others):
    if name == 'mmcv._ext':
        raise ImportError('undefined symbol: _ZN3c10')
    return load(name, *others)
importlib.import_module = refuse
import mmcv
"""
    assert 'PeridotError: mmcv has no compiled operators that fit this torch (undefined' in python(code).stderr


def test_missing_package_names_range_and_command(monkeypatch):
    monkeypatch.setattr(installation, 'find_spec', lambda name: None)
    with pytest.raises(PeridotError, match=r'mmcv is not installed.*>=2\.0\.0rc4,<2\.2\.0.*make env.*pip') as error:
        installation.check_package('mmcv', installation.RANGES['mmcv'])
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'version, fits', [('2.1.0', True), ('2.0.0rc4', True), ('2.1.0+cu118', True), ('2.2.0', False), ('1.7.2', False)]
)
def test_range_of_mmcv(monkeypatch, version, fits):
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: version)
    if fits:
        installation.check_package('mmcv', installation.RANGES['mmcv'])
    else:
        with pytest.raises(PeridotError, match=rf'mmcv {version} does not fit.*<2\.2\.0'):
            installation.check_package('mmcv', installation.RANGES['mmcv'])


def test_operators_that_do_not_load(monkeypatch):
    def refuse(name):
        raise ImportError('undefined symbol: _ZN3c10\nmore')

    monkeypatch.setattr(installation.importlib, 'import_module', refuse)
    with pytest.raises(PeridotError, match=r'undefined symbol.*>=2\.0\.0rc4,<2\.2\.0.*make env') as error:
        installation.check_operators(SimpleNamespace(__name__='mmcv'))
    assert '\n' not in str(error.value)


def test_import_peridot_ends_in_one_line(tmp_path, python):
    folder = tmp_path / 'mmcv-2.2.0.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 2.2.0\n')
    done = python('import peridot', tmp_path)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('peridot.errors.PeridotError: mmcv 2.2.0 does not fit, mmcv>=2.0.0rc4,<2.2.0')
