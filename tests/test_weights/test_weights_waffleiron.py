"""Released WaffleIrons give the same outputs here, and ours are written back as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import CheckpointError
from peridot.hooks import export_backbone
from peridot.models.backbones import WaffleIron
from peridot.models.functional.planes import PLANE_AXES, make_plane
from peridot.models.heads import DistillationHead
from peridot.models.students import WaffleIronStudent
from peridot.registry import MODELS
from peridot.weights import convert_checkpoint, input_features, verify_loading, write_released
from torch import Tensor, nn

REPO = Path(__file__).resolve().parents[2]
# of the golden files: 192, 96 and 72 cells
GRID = (16, 12, 6)
SIZES = dict(in_channels=5, channels=32, depth=4, num_neighbors=8)
RANGE = (-8.0, -6, -3, 8, 6, 3)


def released_state(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name.removeprefix('weight::'): torch.tensor(v) for name, v in arrays.items() if name.startswith('weight::')}


def encode(network: WaffleIron, arrays: dict[str, np.ndarray], scans: slice) -> Tensor:
    """Features (scans * tokens, C) of released inputs; padded tokens have no share in the means of cells."""
    features, neighbors, cells, occupied = (
        torch.from_numpy(arrays[name][scans]) for name in ('feats', 'neighbors', 'cell_ind', 'occupied_cells')
    )
    number, tokens = occupied.shape
    scan = torch.arange(number).repeat_interleave(tokens)
    planes = []
    for which, (a, b) in enumerate(PLANE_AXES):
        cell = scan * GRID[a] * GRID[b] + cells[:, which].flatten()
        real = occupied.flatten()
        count = torch.zeros(number * GRID[a] * GRID[b]).index_add(0, cell, real)
        plane = make_plane(cell, (number, GRID[a], GRID[b]))
        planes.append(plane._replace(weight=real / count[cell].clamp(min=1)))
    # the first neighbor is the point itself
    rows = neighbors[:, 1:].permute(0, 2, 1).flatten(0, 1) + tokens * scan[:, None]
    return network.encode(features.permute(0, 2, 1).flatten(0, 1), scan, rows, planes)


@pytest.mark.parametrize('norm', ['batchnorm', 'layernorm'])
@pytest.mark.parametrize('kind', ['scalr', 'waffleiron'])
@torch.no_grad()
def test_outputs_of_the_released_network(norm, kind, golden, tmp_path):
    arrays = golden(f'waffleiron_{norm}')
    state = {f'module.{name}': value for name, value in released_state(arrays).items()}
    torch.save({dict(scalr='model_point', waffleiron='net')[kind]: state}, tmp_path / 'released.pth')
    assert convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth')[0] == kind
    content = torch.load(tmp_path / 'ours.pth', weights_only=True)
    model = nn.Module()
    model.backbone = WaffleIron(**SIZES, norm=norm)
    if kind == 'waffleiron':
        model.decode_head = MODELS.build(dict(type='peridot.PointSegHead', channels=32, num_classes=24))
        head = model.decode_head.conv_seg
    else:
        distillation = DistillationHead(32, 24)
        distillation.load_state_dict({n.removeprefix('distill.'): v for n, v in content['heads'].items()})
        head = distillation.student
    load_checkpoint(model, str(tmp_path / 'ours.pth'), map_location='cpu')
    assert verify_loading(model, tmp_path / 'ours.pth', settings='warn').fraction == 1
    model.eval()
    expected = torch.from_numpy(arrays['output'])
    for scans in (slice(0, 2), slice(0, 1)):
        found = head(encode(model.backbone, arrays, scans))
        torch.testing.assert_close(found, expected[scans].permute(0, 2, 1).flatten(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize('norm', ['batchnorm', 'layernorm'])
def test_ours_is_written_back_as_it_was(norm, golden, tmp_path):
    state = released_state(golden(f'waffleiron_{norm}'))
    for key in ('model_point', 'net'):
        torch.save({key: state}, tmp_path / 'released.pth')
        convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth')
        write_released(tmp_path / 'ours.pth', tmp_path / 'again.pth')
        again = torch.load(tmp_path / 'again.pth', weights_only=True)[key]
        assert again.keys() == state.keys()
        assert all(torch.equal(again[name], value) for name, value in state.items())


def released(head: dict[str, Tensor], channels: int = 8) -> dict[str, Tensor]:
    """A released state dict with one layer and random values."""
    torch.manual_seed(0)
    network = WaffleIron(channels=channels, depth=1)
    names = {name: f'waffleiron.{name}' if '_mix' in name else name for name in network.state_dict()}
    state = {names[name]: value.clone() for name, value in network.state_dict().items()}
    for name, value in state.items():
        if name.endswith('scale.weight'):
            state[name] = value[:, None, None]
        elif value.ndim == 2:
            state[name] = value[:, :, None, None] if 'conv2' in name else value[:, :, None]
    return {**state, **head}


def linear(outputs: int, inputs: int, name: str) -> dict[str, Tensor]:
    return {f'{name}.weight': torch.rand(outputs, inputs, 1), f'{name}.bias': torch.rand(outputs)}


def norm_state(channels: int, name: str) -> dict[str, Tensor]:
    return {f'{name}.{key}': torch.as_tensor(value) for key, value in nn.BatchNorm1d(channels).state_dict().items()}


def test_hidden_layer_means_scalr_plus(tmp_path):
    state = released({**linear(16, 8, 'classif.0'), **linear(4, 16, 'classif.2')})
    torch.save(dict(model_points=state), tmp_path / 'released.pth')
    assert convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth')[0] == 'scalr'
    content = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert content['meta']['input_settings']['activation'] == 'gelu'
    assert all(name.startswith('backbone.') for name in content['state_dict'])
    head = DistillationHead(8, 4, hidden_channels=16)
    head.load_state_dict({name.removeprefix('distill.'): value for name, value in content['heads'].items()})
    write_released(tmp_path / 'ours.pth', tmp_path / 'again.pth')
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['model_point']
    assert again.keys() == state.keys() and all(torch.equal(again[name], value) for name, value in state.items())


def test_fine_tuned_head_has_batch_normalization(tmp_path):
    state = released({**norm_state(8, 'classif.0'), **linear(3, 8, 'classif.1')})
    torch.save(dict(net=state), tmp_path / 'released.pth')
    assert convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth')[0] == 'waffleiron'
    segmentor = MODELS.build(segmentor_config(num_classes=3))
    load_checkpoint(segmentor, str(tmp_path / 'ours.pth'), map_location='cpu')
    report = verify_loading(segmentor, tmp_path / 'ours.pth')
    assert report.fraction == 1 and report.missing == []
    write_released(tmp_path / 'ours.pth', tmp_path / 'again.pth')
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['net']
    assert again.keys() == state.keys() and all(torch.equal(again[name], value) for name, value in state.items())


def segmentor_config(num_classes: int = 3, **backbone) -> dict:
    return dict(
        type='mmdet3d.MinkUNet',
        data_preprocessor=dict(type='peridot.TokenSegPreprocessor', point_cloud_range=RANGE),
        backbone=dict(type='peridot.WaffleIron', channels=8, depth=1, **backbone),
        decode_head=dict(type='peridot.PointSegHead', channels=8, num_classes=num_classes, batch_norm=True),
    )


def test_exported_student_loads_whole_and_says_what_it_was_trained_with(tmp_path):
    student = WaffleIronStudent(dict(type='peridot.WaffleIron', channels=8, depth=1, activation='gelu'))
    export_backbone(student, tmp_path / 'backbone.pth', '')
    segmentor = MODELS.build(segmentor_config(activation='gelu', point_cloud_range=(-128, -128, -8, 128, 128, 8)))
    with pytest.raises(CheckpointError, match='did not arrive'):
        verify_loading(segmentor, tmp_path / 'backbone.pth')
    load_checkpoint(segmentor, str(tmp_path / 'backbone.pth'), map_location='cpu')
    with pytest.raises(CheckpointError, match=r'cell_size was \[0\.5, 0\.5, 0\.5\] .* is \[1\.0, 1\.0, 0\.5\]'):
        verify_loading(segmentor, tmp_path / 'backbone.pth')
    segmentor.backbone.grid_size = [512, 512, 32]
    report = verify_loading(segmentor, tmp_path / 'backbone.pth')
    assert report.fraction == 1 and all(name.startswith('decode_head') for name in report.missing)
    segmentor.backbone.activation = 'relu'
    with pytest.raises(CheckpointError, match=r"activation was gelu in pre-training and is relu here: set .*'gelu'"):
        verify_loading(segmentor, tmp_path / 'backbone.pth')


def test_file_says_how_intensities_of_each_dataset_were_normalized():
    student = WaffleIronStudent(dict(type='peridot.WaffleIron', channels=8, depth=1))
    steps = [dict(type='peridot.LoadPoints', use_dim=4), dict(type='peridot.AppendPointFeatures', mean=18.7, std=22.0)]
    datasets = [dict(dataset=name, pipeline=steps) for name in ('nuscenes', 'semantickitti')]
    mixed = dict(train_dataloader=dict(dataset=dict(type='peridot.MixedDataset', datasets=datasets)))
    first, second = input_features(mixed, student)['datasets']
    assert first['columns'] == ['intensity', 'x', 'y', 'z', 'range']
    assert first['normalization'] == '(intensity - 18.7) / 22.0'
    assert (first['intensity_range'], second['intensity_range']) == ([0, 255], [0, 1])
    datasets.append(dict(dataset='my_own', pipeline=steps))
    assert input_features(mixed, student) is None


@pytest.mark.parametrize(
    'kind, state, text',
    [
        ('auto', {'waffleiron.spatial_mix.0.norm.weight': torch.ones(8)}, r'no embed\.conv1\.weight'),
        (
            'auto',
            {**released({}), 'waffleiron.extra': torch.ones(1)},
            r'taken for scalr, but backbone\.extra is \(1,\)',
        ),
        (
            'scalr',
            {**released(linear(4, 8, 'classif')), 'waffleiron.extra': torch.ones(1)},
            r'backbone\.extra is \(1,\)',
        ),
        ('scalr', released({**norm_state(8, 'classif.0'), **linear(3, 8, 'classif.1')}), 'take the kind waffleiron'),
        ('waffleiron', released(linear(4, 8, 'classif.0') | linear(3, 4, 'classif.2')), 'take the kind scalr'),
        ('also-second', released(linear(4, 8, 'classif')), 'looks like waffleiron; supported: also-second'),
        ('scalr', {'something.weight': torch.ones(2)}, 'something unknown'),
    ],
)
def test_unknown_layout_is_an_error(kind, state, text, tmp_path):
    torch.save(state, tmp_path / 'released.pth')
    with pytest.raises(CheckpointError, match=text) as error:
        convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth', kind)
    assert '\n' not in str(error.value) and not (tmp_path / 'ours.pth').exists()


def test_checkpoint_of_a_pretraining_is_written_with_its_head(tmp_path):
    student = WaffleIronStudent(dict(type='peridot.WaffleIron', channels=8, depth=1))
    head = DistillationHead(8, 4, hidden_channels=16)
    state = {f'student.{name}': value for name, value in student.state_dict().items()}
    state |= {f'heads.distill.{name}': value for name, value in head.state_dict().items()}
    torch.save(dict(state_dict={**state, 'step': torch.tensor(3)}), tmp_path / 'epoch_1.pth')
    write_released(tmp_path / 'epoch_1.pth', tmp_path / 'out.pth')
    written = torch.load(tmp_path / 'out.pth', weights_only=True)['model_point']
    wanted = released({**linear(16, 8, 'classif.0'), **linear(4, 16, 'classif.2')})
    assert {n: v.shape for n, v in written.items()} == {n: v.shape for n, v in wanted.items()}
    assert torch.equal(written['classif.2.weight'][:, :, 0], head.student[2].weight)


def test_only_a_waffleiron_is_written_back(tmp_path):
    torch.save(dict(state_dict={'backbone.conv_input.0.0.weight': torch.ones(2)}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='has no WaffleIron'):
        write_released(tmp_path / 'other.pth', tmp_path / 'out.pth')


def test_tool_writes_back(tmp_path, run_tool, capsys):
    student = WaffleIronStudent(dict(type='peridot.WaffleIron', channels=8, depth=1))
    export_backbone(student, tmp_path / 'backbone.pth', '')
    out = tmp_path / 'out.pth'
    run_tool('convert_checkpoint', tmp_path / 'backbone.pth', '--out', out, '--to', 'waffleiron')
    assert capsys.readouterr().out == f'written: {out}\n'
    state = torch.load(out, weights_only=True)['model_point']
    assert state.keys() == released({}).keys()
    assert all(value.shape == state[name].shape for name, value in released({}).items())
