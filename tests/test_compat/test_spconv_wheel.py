from types import SimpleNamespace

import pytest
import torch
from peridot.compat import AFTER, Late, on_import, spconv_wheel
from peridot.errors import PeridotError


def test_a_spconv_that_cannot_be_imported_is_one_line(monkeypatch):
    """mmdet3d itself would go on without a word."""

    def refuse(name):
        raise ImportError('libcudart.so.12: cannot open shared object file: No such file or directory\nmore')

    module, action = 'mmdet3d.models.layers.spconv', 'spconv_wheel.check'
    assert (module, action) in AFTER and (module, Late(action)) in on_import._arranged
    monkeypatch.setattr(spconv_wheel.importlib, 'import_module', refuse)
    # a login node
    spconv_wheel.check(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with pytest.raises(PeridotError) as error:
        spconv_wheel.check(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
    assert str(error.value) == (
        'spconv cannot be imported (libcudart.so.12: cannot open shared object file: No such file or directory): '
        'install a wheel for the CUDA of this machine, such as spconv-cu120, or: pip uninstall spconv and pip install '
        'spconv-triton'
    )


def test_spconv_may_be_absent_or_in_use(monkeypatch):
    spconv_wheel.check(SimpleNamespace(IS_SPCONV2_AVAILABLE=True))
    monkeypatch.setattr(spconv_wheel, 'find_spec', lambda name: None)
    spconv_wheel.check(SimpleNamespace(IS_SPCONV2_AVAILABLE=False))
