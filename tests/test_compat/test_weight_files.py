"""mmengine's ways to load weights, from files as users have them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.registry import init_default_scope
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import load_checkpoint
from peridot.checkpoints import read_checkpoint
from peridot.compat import weight_files
from peridot.errors import CheckpointError
from peridot.hooks import export_backbone
from peridot.models.students import SparseUNetStudent
from peridot.weights import verify_loading
from safetensors.torch import save_file
from tiny import SETTINGS, backbone, randomize, segmentor
from torch import nn

UPSTREAM = """
{first}
import torch
from mmengine.runner.checkpoint import load_checkpoint
network = torch.nn.Sequential(torch.nn.Linear(2, 2))
load_checkpoint(network, {path!r}, map_location='cpu')
print(network[0].weight.sum().item())
"""


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


@pytest.fixture
def student() -> SparseUNetStudent:
    return randomize(SparseUNetStudent(backbone(), **SETTINGS))


def test_upstream_fails_and_the_repair_reads(python, tmp_path):
    path = str(tmp_path / 'weights.pth')
    save_file({'_orig_mod.0.weight': torch.ones(2, 2), '_orig_mod.0.bias': torch.ones(2)}, path)

    def run(first: str) -> subprocess.CompletedProcess:
        return python(UPSTREAM.format(first=first, path=path))

    assert run('').returncode != 0
    repaired = run('import peridot')
    assert repaired.stdout.endswith('4.0\n'), repaired.stderr


@pytest.mark.parametrize('name', ['backbone.safetensors', 'backbone.pth', 'backbone.ckpt'])
def test_an_exported_backbone_as_safetensors(student, name, tmp_path):
    export_backbone(student, tmp_path / 'torch.pth', '')
    save_file(read_checkpoint(tmp_path / 'torch.pth')['state_dict'], tmp_path / name)
    model = segmentor()
    load_checkpoint(model, str(tmp_path / name), map_location='cpu')
    assert verify_loading(model, tmp_path / name).fraction == 1
    torch.testing.assert_close(dict(model.backbone.state_dict()), dict(student.backbone.state_dict()))


def test_torch_content_under_the_suffix_of_safetensors(tmp_path):
    network = nn.Linear(2, 2)
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'weights.safetensors')
    other = nn.Linear(2, 2)
    load_checkpoint(other, str(tmp_path / 'weights.safetensors'), strict=True)
    assert torch.equal(other.weight, network.weight)


def wrapped(name: str) -> str:
    return name.replace('backbone.', 'backbone._orig_mod.').replace('encoder.0.', 'encoder.0.module.')


def renamed(state: dict, rename: Callable[[str], str]) -> dict:
    """The state dict under other names; torch's metadata goes with it."""
    result = type(state)((rename(name), value) for name, value in state.items())
    result._metadata = type(state)((rename(f'{name}.')[:-1], value) for name, value in state._metadata.items())
    return result


@pytest.mark.parametrize('rename', [wrapped, '_orig_mod.{}'.format, 'module.{}'.format, 'module._orig_mod.{}'.format])
def test_names_of_wrappers_at_any_depth(rename, tmp_path):
    """Sparse kernels, too: with spconv's metadata mmdet3d takes them as they are, without it permutes them."""
    trained = randomize(segmentor())
    torch.save(dict(state_dict=renamed(trained.state_dict(), rename)), tmp_path / 'epoch_1.pth')
    model = segmentor()
    load_checkpoint(model, str(tmp_path / 'epoch_1.pth'), map_location='cpu')
    assert verify_loading(model, tmp_path / 'epoch_1.pth').fraction == 1
    torch.testing.assert_close(dict(model.state_dict()), dict(trained.state_dict()))


def test_a_compiled_part_of_the_model_takes_plain_names(tmp_path):
    trained, model = randomize(segmentor()), segmentor()
    model.backbone = torch.compile(model.backbone)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'epoch_1.pth')
    load_checkpoint(model, str(tmp_path / 'epoch_1.pth'), map_location='cpu')
    expected = {name.replace('backbone.', 'backbone._orig_mod.'): v for name, v in trained.state_dict().items()}
    torch.testing.assert_close(dict(model.state_dict()), expected)


class Averaged(nn.Module):
    """A network whose own names have a part `module`, as mmengine's averaged models."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.first = nn.Linear(2, 2)


def test_own_names_stay(tmp_path):
    network, other = Averaged(), Averaged()
    torch.save(network.state_dict(), tmp_path / 'weights.pth')
    # mmengine's own expression would take the first part off
    load_checkpoint(other, str(tmp_path / 'weights.pth'), revise_keys=[], strict=True)
    assert torch.equal(other.module.weight, network.module.weight)
    assert torch.equal(other.first.weight, network.first.weight)


@pytest.mark.parametrize('prefix', ['backbone', 'backbone.'])
def test_init_cfg_with_a_prefix(prefix, tmp_path):
    state = {'module.backbone._orig_mod.weight': torch.ones(2, 2), 'module.backbone._orig_mod.bias': torch.ones(2)}
    save_file(state, tmp_path / 'weights.pth')

    module = nn.Linear(2, 2)
    PretrainedInit(str(tmp_path / 'weights.pth'), prefix)(module)
    assert module.weight.sum() == 4
    with pytest.raises(CheckpointError, match=r'no tensor whose name begins with neck\. \(it has backbone\.bias\)'):
        PretrainedInit(str(tmp_path / 'weights.pth'), 'neck')(module)


@pytest.mark.parametrize(
    'content, text',
    [
        (None, r'weights\.pth not found'),
        (b'version https://git-lfs.github.com/spec/v1', r'get the file again \(it is neither of torch nor of safet'),
        (b'\x10\0\0\0\0\0\0\0{"a": 1}', r'weights\.pth cannot be read, get the file again'),
    ],
)
def test_absent_and_damaged_files_are_one_line(content, text, tmp_path):
    path: Path = tmp_path / 'weights.pth'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=text) as error:
        load_checkpoint(nn.Linear(2, 2), str(path))
    assert '\n' not in str(error.value)


def test_second_call_does_nothing():
    load = checkpoint.load_state_dict
    weight_files.repair(checkpoint)
    assert checkpoint.load_state_dict is load
