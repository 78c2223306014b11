import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# What upstream does without peridot, found out in one process because importing mmdet3d takes seconds.
UPSTREAM = """
import json
import torch
torch.set_num_threads(2)
from mmdet3d.models import MinkUNetBackbone
from mmdet3d.models.data_preprocessors import Det3DDataPreprocessor
from mmdet3d.structures import Det3DDataSample

found = {'cuda': torch.cuda.is_available()}
def error_of(function):
    try:
        function()
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''

encoder, decoder = [4, 4, 4, 4], [4, 4, 4, 4]
net = MinkUNetBackbone(4, 4, 4, encoder, [1] * 4, decoder, [1] * 4, sparseconv_backend='spconv').eval()
found['lists'] = [len(encoder), len(decoder)]
net(torch.randn(2, 4), torch.tensor([[0, 0, 0, 0], [0, 32, 32, 32]], dtype=torch.int32))

counts = []
net.encoder[0][0].register_forward_hook(lambda module, args, out: counts.append(len(out.features)))
line = torch.nn.functional.pad(torch.arange(33, dtype=torch.int32)[:, None], (1, 2)).contiguous()
line[:, 2:] = line[:, 1:2]
net(torch.randn(33, 4), line)
found['second_level'] = counts[-1]
found['one_voxel'] = error_of(lambda: net(torch.randn(1, 4), torch.zeros(1, 4, dtype=torch.int32)))
found['backward'] = error_of(lambda: net(torch.randn(33, 4), line[:, [0, 1, 2, 3]]).sum().backward())

pre = Det3DDataPreprocessor(voxel=True, voxel_type='minkunet', batch_first=True, voxel_layer=dict(
    max_num_points=-1, point_cloud_range=[-9, -9, -9, 9, 9, 9], voxel_size=[.1] * 3, max_voxels=(-1, -1)))
found['voxelize'] = error_of(lambda: pre.voxelize([torch.randn(9, 4)], [Det3DDataSample()]))

import spconv.pytorch
voxels = (torch.rand(1, 100, 100, 10) < .3).nonzero().int().contiguous()
x = spconv.pytorch.SparseConvTensor(torch.randn(len(voxels), 16), voxels, [100, 100, 10], 1)
conv = spconv.pytorch.SubMConv3d(16, 16, 3, padding=1, bias=False)
with torch.no_grad():
    runs = [conv(x).features for _ in range(30)]
found['race'] = max((run - runs[0]).abs().max().item() for run in runs)
print(json.dumps(found))
"""


def run_python(code: str, *paths: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, with `paths` importable."""
    search = os.pathsep.join([*map(str, paths), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': search, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope='session')
def python() -> Callable[..., subprocess.CompletedProcess]:
    return run_python


@pytest.fixture(scope='session')
def upstream() -> dict:
    """How unrepaired mmdet3d and spconv behave here."""
    done = run_python(UPSTREAM, OMP_NUM_THREADS='2')
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
