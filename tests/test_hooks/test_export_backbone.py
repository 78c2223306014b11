"""The exported file: what it says about itself, and where it comes from."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from peridot.errors import CheckpointError, ConfigError
from peridot.hooks import CheckCheckpointHook, export_backbone, export_checkpoint
from peridot.models.students import DetectorTrunk
from peridot.registry import MODELS
from peridot.weights import input_features
from tiny import SECOND, SETTINGS, backbone, randomize, segmentor
from torch import nn


def pretraining(dataset: str = 'nuscenes', **loading) -> Config:
    steps = [dict(type='peridot.LoadPoints', load_dim=5, use_dim=4, **loading), dict(type='peridot.PackPaired')]
    data = dict(type='peridot.PairedDataset', dataset=dataset, pipeline=steps)
    student = dict(type='peridot.SparseUNetStudent', backbone=backbone(), **SETTINGS)
    return Config(dict(train_dataloader=dict(dataset=data), model=dict(type='peridot.Pretrainer', student=student)))


def test_features_of_a_student(student):
    assert input_features(pretraining(), student) == dict(
        dataset='nuscenes',
        columns=['intensity'],
        intensity_range=[0, 255],
        normalization='none, values as in the files',
    )
    assert input_features(pretraining('kitti'), student)['intensity_range'] == [0, 1]
    scaled = input_features(pretraining(intensity_scale=255.0), student)
    assert (scaled['intensity_range'], scaled['normalization']) == ([0, 255], 'intensity / 255')
    assert input_features(pretraining('once', intensity_scale=255.0), student)['intensity_range'] == [0, 255]
    assert 'tanh' in input_features(pretraining(norm_intensity=True), student)['normalization']
    # a wrapper such as a label fraction, and a detector that reads five columns of which the files give four
    config = pretraining()
    config.train_dataloader.dataset = dict(type='RepeatDataset', dataset=config.train_dataloader.dataset)
    trunk = DetectorTrunk(SECOND)
    trunk.point_columns = 5
    assert input_features(config, trunk)['columns'] == ['x', 'y', 'z', 'intensity', 'zero']


@pytest.mark.parametrize('config', [Config(dict()), pretraining('my_own')])
def test_features_of_unknown_data_are_not_guessed(config, student):
    assert input_features(config, student) is None


@pytest.fixture
def checkpoint(student, tmp_path) -> dict:
    """What tools/train.py writes, and a file with it."""
    state = {f'student.{name}': value for name, value in student.state_dict().items()}
    content = dict(meta=dict(cfg=pretraining().pretty_text), state_dict={**state, 'heads.point.weight': torch.ones(3)})
    torch.save(content, tmp_path / 'epoch_1.pth')
    return content


def test_exported_checkpoint(checkpoint, student, tmp_path):
    export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'backbone.pth')
    export_backbone(student, tmp_path / 'again.pth', 'source')
    ours, again = (torch.load(tmp_path / f'{name}.pth', weights_only=True) for name in ('backbone', 'again'))
    assert ours['meta']['input_settings'] == student.input_settings()
    assert ours['meta']['input_features']['columns'] == ['intensity']
    assert ours['meta']['source_config'] == checkpoint['meta']['cfg']
    assert ours['state_dict'].keys() == again['state_dict'].keys() == student.state_dict().keys()
    assert all(torch.equal(value, again['state_dict'][name]) for name, value in ours['state_dict'].items())


def test_checkpoint_of_a_compiled_student(checkpoint, tmp_path):
    export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'backbone.pth')
    state = checkpoint['state_dict']
    state = {name.replace('student.backbone.', 'student._orig_mod.backbone.module.'): v for name, v in state.items()}
    torch.save(dict(checkpoint, state_dict=state), tmp_path / 'epoch_1.pth')
    export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'again.pth')
    ours, again = (torch.load(tmp_path / f'{name}.pth')['state_dict'] for name in ('backbone', 'again'))
    assert ours.keys() == again.keys() and all(torch.equal(ours[name], again[name]) for name in ours)


def test_dense_five_dimensional_kernels_are_not_permuted(student, tmp_path):
    student.dense = nn.Conv3d(2, 3, 3)
    export_backbone(student, tmp_path / 'backbone.pth', '')
    state = torch.load(tmp_path / 'backbone.pth', weights_only=True)['state_dict']
    assert state['dense.weight'].shape == (3, 2, 3, 3, 3)
    assert state['backbone.conv_input.0.0.weight'].shape == (3, 3, 3, 1, 4)


@pytest.mark.parametrize(
    'change, text',
    [
        (lambda content: content.pop('meta'), 'not a checkpoint of a pre-training'),
        (lambda content: content['meta'].update(cfg="model = open('ran', 'w')"), 'calls a function'),
        (lambda content: content['meta'].update(cfg='a = 1'), 'not a checkpoint of a pre-training'),
        (lambda content: content['state_dict'].popitem(), None),
        (lambda content: content['state_dict'].pop('student.backbone.conv_input.0.0.weight'), 'do not fit'),
    ],
)
def test_checkpoints_that_cannot_be_exported(checkpoint, change, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    if text is None:
        # only the student counts
        export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'backbone.pth')
        return
    with pytest.raises(CheckpointError, match=text) as error:
        export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'backbone.pth')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'backbone.pth').exists() and not (tmp_path / 'ran').exists()


def with_student(checkpoint: dict, path: Path, **settings) -> Path:
    """A file of the checkpoint with other settings of the student, and a module that its config imports."""
    config = pretraining()
    config.custom_imports = dict(imports=['own_student'])
    config.model.student.update(settings)
    torch.save(dict(checkpoint, meta=dict(cfg=config.pretty_text)), path)
    return path


@pytest.fixture
def own_student(tmp_path, monkeypatch) -> Iterator[None]:
    """A module of the user's, that registers a student."""
    module = 'from peridot.models.students import SparseUNetStudent\nfrom peridot.registry import MODELS\n'
    module += '@MODELS.register_module()\nclass OwnStudent(SparseUNetStudent):\n    pass\n'
    (tmp_path / 'own_student.py').write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop('own_student', None)
    MODELS.module_dict.pop('OwnStudent', None)


def test_a_student_of_ones_own_needs_its_module(checkpoint, own_student, tmp_path, run_tool):
    path = with_student(checkpoint, tmp_path / 'epoch_1.pth', type='peridot.OwnStudent')
    needs = r'epoch_1\.pth: its student needs peridot\.OwnStudent.* --import MODULE'
    with pytest.raises(SystemExit, match=needs) as stop:
        run_tool('export_backbone', path)
    assert '\n' not in str(stop.value)
    with pytest.raises(SystemExit, match=r'^error: --import own_studnet: there is no module own_studnet: .*PYTHONPATH'):
        run_tool('export_backbone', path, '--import', 'own_studnet')
    run_tool('export_backbone', path, '--import', 'own_student')
    state = torch.load(tmp_path / 'backbone.pth', weights_only=True)['state_dict']
    assert {f'student.{name}' for name in state} == checkpoint['state_dict'].keys() - {'heads.point.weight'}


@pytest.mark.parametrize(
    'settings',
    [
        dict(type='own_student.OwnStudent'),
        dict(type='own_student'),
        dict(_scope_='own_student'),
        dict(norm=dict(type='os.getcwd')),
    ],
)
def test_a_checkpoint_does_not_choose_what_is_imported(checkpoint, own_student, settings, tmp_path):
    path = with_student(checkpoint, tmp_path / 'epoch_1.pth', **settings)
    with pytest.raises(ConfigError, match=r'its student needs (own_student|os\.getcwd)'):
        export_checkpoint(path, tmp_path / 'backbone.pth')
    assert 'own_student' not in sys.modules


def test_nor_does_its_scope(checkpoint, own_student, tmp_path):
    checkpoint['meta']['cfg'] += "\ndefault_scope = 'own_student'\n"
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    with pytest.raises(ConfigError, match='its student needs own_student'):
        export_checkpoint(tmp_path / 'epoch_1.pth', tmp_path / 'backbone.pth')
    assert 'own_student' not in sys.modules


class Run:
    """As much of a runner as the hook sees."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


def test_checkpoint_of_a_pretraining_must_fit_in_every_tensor():
    hook, runner = CheckCheckpointHook(), Run(segmentor())
    state = randomize(segmentor()).state_dict()
    hook.after_load_checkpoint(runner, dict(state_dict=state))
    other = dict(state, **{'backbone.conv_input.0.0.weight': torch.ones(8, 3, 3, 3, 1)})
    with pytest.raises(CheckpointError, match=r'conv_input\.0\.0\.weight is \(8, 3, 3, 3, 1\) in the file'):
        hook.after_load_checkpoint(runner, dict(state_dict=other))
    compiled = {name.replace('backbone.', 'backbone._orig_mod.'): value for name, value in state.items()}
    hook.after_load_checkpoint(runner, dict(state_dict=compiled))
    del other['decode_head.conv_seg.bias']
    with pytest.raises(CheckpointError, match=r'first missing: decode_head\.conv_seg\.bias'):
        hook.after_load_checkpoint(runner, other)
