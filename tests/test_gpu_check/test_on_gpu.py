"""The checks themselves, on a GPU at full size: `pytest -m gpu tests/test_gpu_check`."""

import pytest
import torch
from peridot.gpu_check.checks import Setup
from peridot.gpu_check.run import PARTS, isolated


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('part', PARTS)
def test_part_on_the_gpu(part, small):
    module, budget = PARTS[part]
    rows = isolated(part, module, Setup('cuda', False, small.configs, small.folder, budget))
    assert [(row.check, row.error) for row in rows if row.status == 'failed'] == []
    assert any(row.status == 'ok' for row in rows)
