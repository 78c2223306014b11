"""Files of SLidR and its relatives become our Res16UNet and go back; that it computes the same is tested with it."""

import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import CheckpointError, PeridotError
from peridot.models.backbones import Res16UNet
from peridot.registry import MODELS
from peridot.weights import convert_checkpoint, verify_loading, write_minkowski
from peridot.weights.convert import UNKNOWN_VOXELS
from safetensors.torch import save_file
from spconv.pytorch import SparseConvTensor
from tiny import NARROW_RES16UNET as NARROW
from tiny import older, prefixed, released_state, saved, without
from torch import nn

CONFIG = dict(voxel_size=0.1, cylindrical_coordinates=True, dataset='nuscenes', model_n_out=8)


def segmentor(**settings) -> nn.Module:
    """A network with our backbone, as fine-tuning has it."""
    network = nn.Module()
    network.backbone = Res16UNet(**{**NARROW, **settings})
    return network


FORMS = {
    'SLidR': lambda s: dict(model_points=s, model_images={'decoder.weight': torch.ones(2)}, epoch=50, config=CONFIG),
    'SLidR downstream': lambda s: dict(model_points=s, config=CONFIG),
    'Lightning, pre-training': lambda s: dict(
        state_dict=prefixed(s, 'model_points.') | {'model_images.encoder.conv1.weight': torch.ones(3)}, epoch=1
    ),
    'Lightning, downstream': lambda s: dict(state_dict=prefixed(s, 'model.')),
    'several GPUs': lambda s: dict(model_points=prefixed(s, 'module.')),
    'encoder': lambda s: dict(state_dict=prefixed(s, 'encoder.')),
    'backbone': lambda s: dict(state_dict=prefixed(s, 'backbone.')),
    'backbone_3d': lambda s: dict(state_dict=prefixed(s, 'backbone_3d.')),
    'with its average': lambda s: dict(
        state_dict=prefixed({n: 0 * v for n, v in s.items()}, 'ema.') | prefixed(s, 'model.')
    ),
    'CSC, two networks': lambda s: dict(
        state_dict=prefixed({n: 0 * v for n, v in s.items()}, 'model_k.') | prefixed(s, 'model_q.')
    ),
    'weights alone': lambda s: s,
    'half precision': lambda s: dict(model_points={n: v.half() if v.is_floating_point() else v for n, v in s.items()}),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_tensor_arrives(form, tmp_path):
    state = released_state()
    kind, notes = convert_checkpoint(saved(tmp_path, FORMS[form](state)), tmp_path / 'ours.pth')
    assert kind == 'res16unet'
    assert notes[0].startswith('final.* of 8 columns is kept as heads.instance.student')
    network = segmentor()
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    report = verify_loading(network, tmp_path / 'ours.pth')
    assert len(report.arrived) == len(state) - 2
    # a kernel of size 1 is read as it lies: reshaped, not transposed
    shortcut = network.backbone.block2[0].downsample[0].weight
    wanted = state['block2.0.downsample.0.kernel'].half().float() if 'half' in form else None
    wanted = state['block2.0.downsample.0.kernel'] if wanted is None else wanted
    assert shortcut.shape == (6, 1, 1, 1, 4)
    torch.testing.assert_close(shortcut.detach().view(4, 6), wanted)


def test_shortcuts_are_not_transposed(tmp_path):
    state = released_state()
    convert_checkpoint(saved(tmp_path, dict(model_points=state)), tmp_path / 'ours.pth')
    network = segmentor()
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    cells = torch.tensor([(0, i, 0, 0) for i in range(5)], dtype=torch.int32)
    x = SparseConvTensor(torch.randn(5, 4), cells, [5, 1, 1], 1)
    found = network.backbone.block2[0].downsample[0](x).features
    torch.testing.assert_close(found, x.features @ state['block2.0.downsample.0.kernel'])


@pytest.mark.parametrize('config', [CONFIG, CONFIG | dict(cylindrical_coordinates=False)], ids=['cylindrical', 'cubes'])
@pytest.mark.parametrize('columns', [8, 17, 20, None])
def test_round_trip_is_exact(columns, config, tmp_path):
    state = released_state(columns)
    source = saved(tmp_path, dict(model_points=state, config=config))
    convert_checkpoint(source, tmp_path / 'ours.pth')
    write_minkowski(tmp_path / 'ours.pth', tmp_path / 'again.pt')
    again = torch.load(tmp_path / 'again.pt', weights_only=True)
    assert list(again['model_points']) == list(state)
    assert again['config'] == {name: config[name] for name in ('voxel_size', 'cylindrical_coordinates')}
    for name, value in state.items():
        found = again['model_points'][name]
        if columns in (17, 20) and name.startswith('final.'):
            # the column of unlabeled points
            assert (found[..., 0] <= 0).all()
            found, value = found[..., 1:], value[..., 1:]
        assert torch.equal(found, value), name


def test_an_export_without_its_description_goes_back(tmp_path):
    state = released_state()
    convert_checkpoint(saved(tmp_path, dict(model_points=state)), tmp_path / 'ours.pth')
    save_file(torch.load(tmp_path / 'ours.pth')['state_dict'], tmp_path / 'ours.safetensors')
    write_minkowski(tmp_path / 'ours.safetensors', tmp_path / 'again.pt')
    again = torch.load(tmp_path / 'again.pt', weights_only=True)['model_points']
    assert again.keys() == without(state, 'final').keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())


@pytest.mark.parametrize(
    'size, coordinates', [((0.1, 0.5, 0.1), 'cylindrical'), ((0.1, 1.0, 0.2), 'cylindrical'), ((1, 1, 2), 'cartesian')]
)
def test_voxels_that_the_released_code_lacks(size, coordinates, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('peridot.weights.minkowski.print_log', lambda *args: lines.append(args[0]))
    meta = dict(input_settings=dict(voxel_size=list(size), coordinates=coordinates))
    torch.save(dict(state_dict=segmentor().state_dict(), meta=meta), tmp_path / 'ours.pth')
    write_minkowski(tmp_path / 'ours.pth', tmp_path / 'slidr.pt')
    assert 'config' not in torch.load(tmp_path / 'slidr.pt', weights_only=True)
    assert lines == [f'{tmp_path / "slidr.pt"} has no config: SLidR has no voxels of {list(size)}']


def test_a_head_without_a_bias_goes_back(tmp_path):
    state = {**segmentor().state_dict(), 'decode_head.conv_seg.weight': torch.ones(3, 6)}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    write_minkowski(tmp_path / 'epoch_1.pth', tmp_path / 'slidr.pt')
    found = torch.load(tmp_path / 'slidr.pt', weights_only=True)['model_points']
    assert found['final.bias'][0, 1:].tolist() == [0, 0, 0] and found['final.bias'][0, 0] < -1000


def test_a_fine_tuned_network_goes_back(tmp_path):
    network = segmentor()
    network.decode_head = nn.ModuleDict(dict(conv_seg=nn.Linear(6, 16)))
    torch.save(dict(state_dict=network.state_dict(), meta=dict(epoch=1)), tmp_path / 'epoch_1.pth')
    write_minkowski(tmp_path / 'epoch_1.pth', tmp_path / 'slidr.pt')
    convert_checkpoint(tmp_path / 'slidr.pt', tmp_path / 'ours.pth')
    other = segmentor()
    other.decode_head = nn.ModuleDict(dict(conv_seg=nn.Linear(6, 16)))
    load_checkpoint(other, str(tmp_path / 'ours.pth'))
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_checkpoint_of_pre_training_goes_back(tmp_path):
    student = MODELS.build(
        dict(type='peridot.SparseUNetStudent', backbone=dict(type='peridot.Res16UNet', **NARROW), voxel_size=(0.1,) * 3)
    )
    heads = {'heads.instance.student.weight': torch.randn(8, 6), 'heads.instance.student.bias': torch.randn(8)}
    state = prefixed(student.state_dict(), 'student.') | heads
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), tmp_path / 'epoch_1.pth')
    write_minkowski(tmp_path / 'epoch_1.pth', tmp_path / 'slidr.pt')
    convert_checkpoint(tmp_path / 'slidr.pt', tmp_path / 'ours.pth')
    network = segmentor()
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    for name, value in student.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    kept = torch.load(tmp_path / 'ours.pth', weights_only=True)['heads']
    assert torch.equal(kept['instance.student.weight'], heads['heads.instance.student.weight'])


def test_segmentation_head_keeps_the_order_of_the_classes(tmp_path):
    state = released_state(17)
    _, notes = convert_checkpoint(saved(tmp_path, dict(model_points=state)), tmp_path / 'ours.pth')
    assert notes[0] == 'final.* of 17 columns is kept as decode_head.conv_seg, without unlabeled points'
    content = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert torch.equal(content['state_dict']['decode_head.conv_seg.weight'], state['final.kernel'].T[1:])
    assert torch.equal(content['state_dict']['decode_head.conv_seg.bias'], state['final.bias'][0, 1:])


@pytest.mark.parametrize(
    'columns, content, kept',
    [
        (17, {}, 'decode_head.conv_seg, without unlabeled points'),
        (17, dict(model_images={}), 'heads.instance.student'),
        (17, dict(config=dict(images_encoder='resnet50', model_n_out=17)), 'heads.instance.student'),
        (17, dict(state_dict={'model_images.encoder.weight': torch.ones(1)}), 'heads.instance.student'),
        (12, dict(config=dict(ignore_index=0)), 'decode_head.conv_seg, without unlabeled points'),
        (12, {}, 'heads.instance.student (neither 17 nor 20 columns: taken for a head of pre-training)'),
    ],
)
def test_what_the_last_layer_is_taken_for(columns, content, kept, tmp_path):
    state = released_state(columns)
    if 'state_dict' in content:
        content = dict(state_dict=content['state_dict'] | prefixed(state, 'model_points.'))
    else:
        content = dict(content, model_points=state)
    _, notes = convert_checkpoint(saved(tmp_path, content), tmp_path / 'ours.pth')
    assert notes[0] == f'final.* of {columns} columns is kept as {kept}'


def test_networks_with_more_inputs_read_the_first_columns(tmp_path):
    state = released_state() | {'conv0p1s1.kernel': torch.ones(27, 4, 4)}
    convert_checkpoint(saved(tmp_path, dict(model_points=state, config=CONFIG)), tmp_path / 'ours.pth')
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert meta['input_settings']['feature_columns'] == [0, 1, 2, 3] and meta['input_features'] is None


def test_voxels_and_intensity_come_from_the_files_config(tmp_path):
    convert_checkpoint(saved(tmp_path, dict(model_points=released_state(), config=CONFIG)), tmp_path / 'ours.pth')
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert meta['input_settings'] == dict(voxel_size=[0.1, 1.0, 0.1], coordinates='cylindrical', feature_columns=[3])
    assert meta['input_features']['intensity_range'] == [0, 255]
    cartesian = {**CONFIG, 'cylindrical_coordinates': False, 'voxel_size': 0.05, 'dataset': 'kitti'}
    convert_checkpoint(saved(tmp_path, dict(model_points=released_state(), config=cartesian)), tmp_path / 'ours.pth')
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert meta['input_settings'] == dict(voxel_size=[0.05] * 3, coordinates='cartesian', feature_columns=[3])
    assert meta['input_features'] is None
    # ST-SLidR nests its config
    nested = dict(model_points=released_state(), config=dict(trainer=CONFIG))
    _, notes = convert_checkpoint(saved(tmp_path, nested), tmp_path / 'ours.pth')
    assert notes[-1] == UNKNOWN_VOXELS


def test_cylindrical_weights_do_not_go_into_cartesian_voxels(tmp_path):
    convert_checkpoint(saved(tmp_path, dict(model_points=released_state(), config=CONFIG)), tmp_path / 'ours.pth')
    network = segmentor()
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    network.data_preprocessor = MODELS.build(
        dict(type='peridot.SegPreprocessor', voxel_size=(0.1, 0.1, 0.1), coordinates='cartesian', feature_columns=(3,))
    )
    with pytest.raises(CheckpointError, match='coordinates was cylindrical in pre-training and is cartesian here'):
        verify_loading(network, tmp_path / 'ours.pth')
    assert verify_loading(network, tmp_path / 'ours.pth', settings='warn').fraction == 1


def test_further_heads_are_named_and_left_out(tmp_path):
    heads = {
        'final_class_level.kernel': torch.ones(6, 8),
        'final_class_level.bias': torch.ones(1, 8),
        'final_prototype.weight': torch.ones(3, 8),
    }
    source = saved(tmp_path, dict(model_points=released_state() | heads, config=CONFIG))
    _, notes = convert_checkpoint(source, tmp_path / 'ours.pth')
    assert notes[1:] == ['left out: final_class_level.*, final_prototype.*']
    # HVDistill and IRC have no `final` of SLidR's form
    other = released_state(None) | {'final_1.kernel': torch.ones(6, 8), 'final_triple.0.kernel': torch.ones(6, 8)}
    _, notes = convert_checkpoint(saved(tmp_path, dict(model_points=other, config=CONFIG)), tmp_path / 'ours.pth')
    assert notes == ['left out: final_1.*, final_triple.*']


BAD = {
    'a level is missing': (lambda s: without(s, 'block3.'), r'Res16UNet of another shape: it has no block3\.0'),
    'no stem': (lambda s: without(s, 'conv0p1s1'), 'something unknown, with tensors like bn0'),
    'a tensor is missing': (
        lambda s: without(s, 'block8.0.norm2.bn.running_var'),
        r'block8\.0\.norm2\.running_var is absent in the file',
    ),
    'another kernel size within': (
        lambda s: s | {'block1.0.conv1.kernel': torch.zeros(125, 4, 4)},
        r'block1\.0\.conv1\.weight is \(4, 5, 5, 5, 4\) in the file',
    ),
    'not a cube': (lambda s: s | {'conv0p1s1.kernel': torch.zeros(26, 1, 4)}, '26 offsets, which is not a cube'),
    'stem of one dimension': (lambda s: s | {'conv0p1s1.kernel': torch.zeros(27)}, r'conv0p1s1\.kernel is damaged'),
    'stem of an even size': (lambda s: s | {'conv0p1s1.kernel': torch.zeros(8, 1, 4)}, 'stem_kernel=2: take an odd'),
    'kernel of two dimensions': (
        lambda s: s | {'block1.0.conv1.kernel': torch.zeros(4, 4)},
        r'block1\.0\.conv1\.weight is \(4, 1, 1, 1, 4\) in the file',
    ),
    'kernel without dimensions': (
        lambda s: s | {'block1.0.conv2.kernel': torch.tensor(1.0)},
        r'block1\.0\.conv2\.kernel is damaged: a kernel has 2 or 3 dimensions, it has 0',
    ),
    'kernel of four dimensions': (
        lambda s: s | {'block1.0.conv2.kernel': torch.zeros(27, 1, 4, 4)},
        r'block1\.0\.conv2\.kernel is damaged',
    ),
    'last layer of one dimension': (
        lambda s: s | {'final.kernel': torch.zeros(6)},
        r'final\.kernel is damaged: a last layer has 2 dimensions, it has 1',
    ),
    'before 0.5': (older, 'before version 0.5'),
    'DepthContrast': (lambda s: prefixed(s, 'model.trunk.2.'), 'with tools/convert_checkpoint.py --kind res16unet'),
    'optimizer only': (lambda s: {}, 'none at all'),
}


@pytest.mark.parametrize('case', BAD)
def test_unreadable_file_is_named(case, tmp_path):
    change, text = BAD[case]
    source = saved(tmp_path, dict(model_points=change(released_state()), optimizer=dict(state={})))
    with pytest.raises(PeridotError, match=text) as error:
        convert_checkpoint(source, tmp_path / 'ours.pth')
    assert '\n' not in str(error.value) and str(source) in str(error.value)
    assert not (tmp_path / 'ours.pth').exists()


def test_depth_contrast_is_read_when_asked_for(tmp_path):
    state = prefixed(released_state(None), 'trunk.2.') | {'trunk.0.other.weight': torch.ones(2)}
    source = saved(tmp_path, dict(epoch=1, model=state, optimizer={}, train_criterion={}))
    assert convert_checkpoint(source, tmp_path / 'ours.pth', 'res16unet')[0] == 'res16unet'


@pytest.mark.parametrize(
    'settings',
    [dict(layers=(1,) * 8), dict(layers=(2,) * 8), dict(channels=(4, 6, 8, 8, 8, 8, 8, 8)), dict(stem_kernel=5)],
    ids=['14', '18', 'A', 'stem 5'],
)
def test_another_member_of_the_family_is_refused_by_the_network(settings, tmp_path):
    convert_checkpoint(saved(tmp_path, dict(model_points=released_state())), tmp_path / 'ours.pth')
    network = segmentor(**settings)
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    with pytest.raises(CheckpointError, match='did not arrive'):
        verify_loading(network, tmp_path / 'ours.pth')


def test_members_of_the_family_are_read(tmp_path):
    state = released_state(layers=(1,) * 8, channels=(4, 6, 8, 10, 8, 6, 8, 8))
    convert_checkpoint(saved(tmp_path, dict(model_points=state)), tmp_path / 'ours.pth')
    network = segmentor(layers=(1,) * 8, channels=(4, 6, 8, 10, 8, 6, 8, 8))
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    assert verify_loading(network, tmp_path / 'ours.pth').fraction == 1


class Harmful:
    def __reduce__(self):
        return (print, ('code of a stranger runs',))


def test_pickle_that_would_run_code(tmp_path, capsys):
    source = saved(tmp_path, dict(model_points=released_state(), config=Harmful()))
    # the file has what it should: all of it is read by a program that runs its code
    assert torch.load(source, weights_only=False)['config'] is None and 'stranger' in capsys.readouterr().out
    with pytest.raises(CheckpointError, match='if you trust the file, save its tensors alone') as error:
        convert_checkpoint(source, tmp_path / 'ours.pth')
    assert '\n' not in str(error.value)
    assert 'stranger' not in capsys.readouterr().out


def test_other_networks_do_not_go_back(tmp_path):
    torch.save(dict(state_dict={'backbone.conv_input.0.0.weight': torch.ones(2)}), tmp_path / 'other.pth')
    odd = {**segmentor().state_dict(), 'backbone.block1.0.conv1.weight': torch.ones(4, 3, 3, 1, 4)}
    torch.save(dict(state_dict=odd), tmp_path / 'odd.pth')
    for name in ('other', 'odd'):
        with pytest.raises(CheckpointError, match=f'{name}.pth has no Res16UNet'):
            write_minkowski(tmp_path / f'{name}.pth', tmp_path / 'out.pt')


def test_tool_says_where_the_last_layer_went(tmp_path, run_tool, capsys):
    source = saved(tmp_path, dict(model_points=released_state(), config=CONFIG))
    run_tool('convert_checkpoint', source, '--out', tmp_path / 'ours.pth')
    out = capsys.readouterr().out
    assert out.startswith(f'written: {tmp_path / "ours.pth"} (res16unet)\nfinal.* of 8 columns')
    run_tool('convert_checkpoint', tmp_path / 'ours.pth', '--out', tmp_path / 'slidr.pt', '--to', 'minkowski')
    assert (tmp_path / 'slidr.pt').is_file()


def test_names_and_shapes_are_the_released_ones(golden, tmp_path):
    arrays = golden('res16unet34c_shapes')
    shapes = {
        str(name): tuple(int(n) for n in shape[:dims])
        for name, shape, dims in zip(arrays['names'], arrays['shapes'], arrays['dims'])
    }
    state = {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith('tracked') else torch.float32)
        for name, shape in shapes.items()
    }
    convert_checkpoint(saved(tmp_path, dict(model_points=state)), tmp_path / 'ours.pth')
    network = segmentor(
        stem_channels=32, channels=(32, 64, 128, 256, 256, 128, 96, 96), layers=(2, 3, 4, 6, 2, 2, 2, 2)
    )
    assert len(network.state_dict()) == 372
    load_checkpoint(network, str(tmp_path / 'ours.pth'))
    assert verify_loading(network, tmp_path / 'ours.pth').fraction == 1
    write_minkowski(tmp_path / 'ours.pth', tmp_path / 'again.pt')
    again = torch.load(tmp_path / 'again.pt', weights_only=True)['model_points']
    assert {name: tuple(value.shape) for name, value in again.items()} == shapes
