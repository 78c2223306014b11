import pytest
import torch
from peridot.models.students import SparseUNetStudent
from peridot.preflight.precision import precision_warnings
from tiny import SETTINGS, PointwiseStudent, backbone
from torch import nn

BFLOAT16 = dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16'))
FLOAT16 = dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16'))
FULL = dict(optim_wrapper=dict(type='OptimWrapper', dtype='bfloat16'))


@pytest.fixture
def sparse() -> nn.Module:
    return nn.Sequential(SparseUNetStudent(backbone(), **SETTINGS))


def test_sparse_convolutions_do_not_know_bfloat16(sparse, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    (line,) = precision_warnings(BFLOAT16, sparse)
    assert line.startswith('optim_wrapper.dtype=bfloat16, but spconv computes sparse convolutions in float16')
    assert '\n' not in line
    for config, model in ((FLOAT16, sparse), (FULL, sparse), ({}, sparse), (BFLOAT16, PointwiseStudent())):
        assert precision_warnings(config, model) == []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert precision_warnings(BFLOAT16, sparse) == []


def test_nor_does_the_stand_in(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    layer = type('SubMConv3d', (nn.Module,), dict(__module__='spconv_triton.pytorch.conv'))()
    (line,) = precision_warnings(BFLOAT16, layer)
    assert 'but spconv_triton computes' in line


def test_spconv_casts_to_float16_whatever_the_autocast():
    """What the warning says, as far as a CPU can tell: the fact is in spconv's source."""
    from inspect import getsource

    from spconv.pytorch import functional

    assert 'cast_inputs=torch.float16' in getsource(functional)
