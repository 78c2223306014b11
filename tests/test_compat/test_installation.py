import importlib.metadata
from types import SimpleNamespace

import pytest
import torch
from peridot.compat import installation, post_import
from peridot.errors import PeridotError


def test_this_installation_is_fine():
    installation.check()


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
        installation.check_operators()
    assert '\n' not in str(error.value)


def test_import_peridot_ends_in_one_line(tmp_path, python):
    folder = tmp_path / 'mmcv-2.2.0.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 2.2.0\n')
    done = python('import peridot', tmp_path)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('peridot.errors.PeridotError: mmcv 2.2.0 does not fit, mmcv>=2.0.0rc4,<2.2.0')


def test_a_spconv_that_cannot_be_imported_is_one_line(monkeypatch):
    """mmdet3d itself would go on without a word."""

    def refuse(name):
        raise ImportError('libcudart.so.12: cannot open shared object file: No such file or directory\nmore')

    assert ('mmdet3d.models.layers.spconv', installation.check_spconv) in post_import._arranged
    monkeypatch.setattr(installation.importlib, 'import_module', refuse)
    # a login node
    installation.check_spconv(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with pytest.raises(PeridotError) as error:
        installation.check_spconv(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
    assert str(error.value) == (
        'spconv cannot be imported (libcudart.so.12: cannot open shared object file: No such file or directory): '
        'install a wheel for the CUDA of this machine, such as spconv-cu120, or: pip uninstall spconv and pip install '
        'spconv-triton'
    )


def test_spconv_may_be_absent_or_in_use(monkeypatch):
    installation.check_spconv(SimpleNamespace(IS_SPCONV2_AVAILABLE=True))
    monkeypatch.setattr(installation, 'find_spec', lambda name: None)
    installation.check_spconv(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
