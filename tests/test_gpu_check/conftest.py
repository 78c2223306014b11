from pathlib import Path

import pytest
from mmengine.registry import init_default_scope
from peridot.gpu_check.checks import Setup

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(tmp_path, monkeypatch) -> Setup:
    """A dry run on the CPU."""
    init_default_scope('mmdet3d')
    monkeypatch.chdir(REPO)
    return Setup('cpu', small=True, configs=REPO / 'configs', folder=tmp_path)
