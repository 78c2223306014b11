"""Files of weights as users have them: of torch or safetensors under any suffix, names that wrappers changed."""

import sys
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from types import ModuleType

import pytest
import torch
from peridot.checkpoints import is_safetensors, read_checkpoint, state_of, unwrapped_names
from peridot.errors import CheckpointError
from safetensors.torch import save_file
from torch import nn

TENSORS = {'layer.weight': torch.arange(6.0).view(2, 3), 'layer.bias': torch.ones(2)}


@pytest.mark.parametrize('name', ['weights.pth', 'weights.safetensors', 'weights.bin', 'weights'])
@pytest.mark.parametrize('kind', ['torch', 'legacy', 'safetensors'])
def test_content_tells_the_format_not_the_suffix(kind, name, tmp_path):
    path = tmp_path / name
    if kind == 'safetensors':
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=kind == 'torch')
    assert is_safetensors(path) == (kind == 'safetensors')
    found = read_checkpoint(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


class Settings:
    """An object of another program."""


@pytest.mark.parametrize(
    'content, text',
    [
        (b'', 'get the file again'),
        (b'<!DOCTYPE html>', 'get the file again (it is neither of torch nor of safetensors)'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'get the file again (it is neither'),
        (b'\x08\0\0\0\0\0\0\0{"a": 1}', 'get the file again'),
        (Settings(), 'save its state dict alone (it holds Python objects beside tensors)'),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_right_advice(content, text, tmp_path):
    path = tmp_path / 'weights.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(dict(TENSORS, settings=content), path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert f'checkpoint {path} cannot be read, {text}' in str(error.value) and '\n' not in str(error.value)
    # torch's own message says how to unpickle everything
    assert 'weights_only' not in str(error.value)


class EasyDict(dict):
    """As easydict pickles it: the items twice, as those of a dict and as attributes."""

    def __init__(self, **items):
        for name, value in items.items():
            self[name] = value
            setattr(self, name, value)


class Trap(EasyDict):
    """A class of another name."""


def test_config_of_another_program_is_read_as_plain_values(tmp_path, monkeypatch):
    module = ModuleType('easydict')
    module.EasyDict, module.Trap = EasyDict, Trap
    monkeypatch.setattr(EasyDict, '__module__', 'easydict')
    monkeypatch.setattr(Trap, '__module__', 'easydict')
    monkeypatch.setitem(sys.modules, 'easydict', module)
    config = EasyDict(DATASET=EasyDict(VOXEL_SIZE=0.05), SAVE_FOLDER=Path('output', 'run'))
    torch.save(dict(state_dict=TENSORS, config=config), tmp_path / 'weights.pt')
    torch.save(dict(state_dict=TENSORS, config=config, run=Trap(lr=1)), tmp_path / 'other.pt')
    # nothing of the other program is imported
    monkeypatch.delitem(sys.modules, 'easydict')
    content = read_checkpoint(tmp_path / 'weights.pt')
    assert content['config'] == dict(DATASET=dict(VOXEL_SIZE=0.05), SAVE_FOLDER=PurePosixPath('output/run'))
    assert type(content['config']['SAVE_FOLDER']) is PurePosixPath and 'easydict' not in sys.modules
    with pytest.raises(CheckpointError, match='it holds Python objects beside tensors'):
        read_checkpoint(tmp_path / 'other.pt')
    # and torch refuses these names elsewhere as before
    with pytest.raises(UnpicklingError):
        torch.load(tmp_path / 'weights.pt', weights_only=True)


@pytest.mark.parametrize(
    'name',
    [
        'student.backbone.weight',
        'module.student.backbone.weight',
        '_orig_mod.student.backbone.weight',
        'student._orig_mod.backbone.weight',
        'module._orig_mod.student.module.backbone._orig_mod.weight',
    ],
)
def test_parts_of_wrappers_at_any_depth(name):
    for content in ({name: torch.ones(1)}, dict(state_dict={name: torch.ones(1)})):
        assert list(state_of(content)) == ['student.backbone.weight']
    # a network that is compiled itself
    assert list(state_of(content, ['student.backbone._orig_mod.weight'])) == ['student.backbone._orig_mod.weight']


def test_names_of_the_network_itself_stay():
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2))
    names = dict(averaged.state_dict())
    assert list(state_of(names, names)) == list(names)
    # student and its average in one model
    names = ['head.weight', 'teacher.module.head.weight', 'teacher.steps']
    assert unwrapped_names(names, names) == {name: name for name in names}
    assert unwrapped_names(['head._orig_mod.weight', *names[1:]], names)['head._orig_mod.weight'] == 'head.weight'


def test_names_that_would_become_one_stay():
    assert unwrapped_names(['a.module.b', 'a.b']) == {'a.module.b': 'a.module.b', 'a.b': 'a.b'}
