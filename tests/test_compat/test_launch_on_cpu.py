import os
import subprocess
import sys

import pytest
import torch

LAUNCH = """
{first}
from mmengine.dist import all_reduce, get_world_size, init_dist
import torch
init_dist('pytorch', backend='nccl')
value = torch.ones(1)
all_reduce(value)
print('sum', value.item(), 'of', get_world_size())
"""


def launch(first: str, port: int) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        **dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port)),
    }
    return subprocess.run(
        [sys.executable, '-c', LAUNCH.format(first=first)], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason='machines with a GPU go the upstream way')
def test_launcher_fails_on_cpu_without_the_repair_and_works_with_it(free_port):
    assert launch('', free_port).returncode != 0
    repaired = launch('import peridot', free_port)
    assert 'sum 1.0 of 1' in repaired.stdout, repaired.stderr
