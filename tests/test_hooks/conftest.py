import pytest
from mmengine.registry import init_default_scope
from peridot.models.students import SparseUNetStudent
from tiny import SETTINGS, backbone, randomize


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


@pytest.fixture
def student() -> SparseUNetStudent:
    return randomize(SparseUNetStudent(backbone(), **SETTINGS))
