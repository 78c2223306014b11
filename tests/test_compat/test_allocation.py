import pytest
import torch
from peridot.compat import allocation

# networks need it
BUILDS = ('import mmengine.model', 'import peridot, mmengine.model')
FAULTS = """
{first}
import resource, torch
for number in range(21):
    torch.ones(1 << 24)
    if number == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not allocation.repair(torch), reason='no glibc, or a GPU')
@pytest.mark.slow
def test_tensors_reuse_memory_with_the_repair_alone(python):
    without, repaired = (int(python(FAULTS.format(first=first)).stdout) for first in BUILDS)
    assert repaired * 10 < without


def test_machines_with_a_gpu_are_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert not allocation.repair(torch)
