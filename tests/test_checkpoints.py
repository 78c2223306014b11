"""Files of weights as users have them: of torch or safetensors under any suffix, names that wrappers changed."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from threading import Barrier, BrokenBarrierError

import pytest
import torch
from packaging.version import Version
from peridot.checkpoints import is_safetensors, meta_of, read_checkpoint, state_of, unwrapped_names
from peridot.errors import CheckpointError
from safetensors.torch import save_file
from tiny import EasyDict, easydict_installed
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
        (Settings(), 'it holds Python objects beside tensors: if you trust the file, save its tensors alone where'),
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


def test_the_cure_of_a_file_with_objects_is_a_command(tmp_path, monkeypatch):
    torch.save(dict(state_dict=TENSORS, settings=Settings()), tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(tmp_path / 'weights.pth')
    monkeypatch.chdir(tmp_path)
    exec(str(error.value).split('"')[1])
    assert read_checkpoint(tmp_path / 'NEW.pth').keys() == TENSORS.keys()


NEEDS_STAND_INS = pytest.mark.skipif(
    Version(torch.__version__) < Version('2.6'), reason='older versions of torch know no stand-ins'
)


class Trap(EasyDict):
    """A class of another name."""


@NEEDS_STAND_INS
def test_config_of_another_program_is_read_as_plain_values(tmp_path, monkeypatch):
    config = EasyDict(DATASET=EasyDict(VOXEL_SIZE=0.05), SAVE_FOLDER=Path('output', 'run'))
    with easydict_installed(Trap):
        torch.save(dict(state_dict=TENSORS, config=config), tmp_path / 'weights.pt')
        torch.save(dict(state_dict=TENSORS, config=config, run=Trap(lr=1)), tmp_path / 'other.pt')
    content = read_checkpoint(tmp_path / 'weights.pt')
    assert content['config'] == dict(DATASET=dict(VOXEL_SIZE=0.05), SAVE_FOLDER=PurePosixPath('output/run'))
    # nothing of the other program is imported
    assert type(content['config']['SAVE_FOLDER']) is PurePosixPath and 'easydict' not in sys.modules
    with pytest.raises(CheckpointError, match='it holds Python objects beside tensors'):
        read_checkpoint(tmp_path / 'other.pt')
    # and torch refuses these names elsewhere as before
    with pytest.raises(UnpicklingError):
        torch.load(tmp_path / 'weights.pt', weights_only=True)


@NEEDS_STAND_INS
def test_items_of_a_config_do_not_hide_the_methods_of_a_dict(tmp_path):
    with easydict_installed():
        config = EasyDict(get=1, nested=[EasyDict(get=2)])
        torch.save(dict(state_dict=TENSORS, config=config), tmp_path / 'weights.pt')
    found = read_checkpoint(tmp_path / 'weights.pt')['config']
    assert found.get('get') == 1 and found['nested'][0].get('get') == 2


def test_versions_in_a_state_dict_stay(tmp_path):
    torch.save(dict(state_dict=nn.BatchNorm1d(2).state_dict()), tmp_path / 'weights.pth')
    assert read_checkpoint(tmp_path / 'weights.pth')['state_dict']._metadata['']['version'] == 2


def test_older_torch_is_named_as_the_cause(tmp_path, monkeypatch):
    with easydict_installed():
        torch.save(dict(state_dict=TENSORS, config=EasyDict(lr=1)), tmp_path / 'weights.pt')
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    with pytest.raises(CheckpointError, match=r'weights\.pt cannot be read, use torch 2\.6 or newer'):
        read_checkpoint(tmp_path / 'weights.pt')


def test_threads_do_not_read_at_once(tmp_path, monkeypatch):
    """The end of the first would take the names away that the second needs."""
    torch.save(TENSORS, tmp_path / 'weights.pth')
    both = Barrier(2)

    def read(path: Path) -> dict:
        with pytest.raises(BrokenBarrierError):
            both.wait(0.05)
        return TENSORS

    monkeypatch.setattr('peridot.checkpoints._read', read)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read_checkpoint, [tmp_path / 'weights.pth'] * 2))


def test_meta_of_odd_files():
    assert meta_of(dict(meta=dict(epoch=1))) == dict(epoch=1)
    assert meta_of({}) == meta_of(dict(meta='text')) == {}


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
